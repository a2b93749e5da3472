"""Answers a GraphQL request out of nested dictionaries: what a request selects is looked up, there is no schema.

A value that is callable is called with the field's arguments. A field that is not there is an error that names it, so
that a client which asks for something new is noticed.
"""

from collections.abc import Callable, Mapping
from typing import Any

from graphql import parse
from graphql.language import ast

View = Mapping[str, Any]


class RefusedError(Exception):
    """What the server says no to, in the words that the client will show."""


def operation_name(document: str) -> str:
    """The name of the operation that a document holds."""
    return _operation(parse(document)).name.value


def answer(document: str, variables: Mapping[str, Any], roots: Callable[[str], View]) -> dict[str, Any]:
    """The data that a document selects.

    Args:
        document: GraphQL.
        variables: Of the operation.
        roots: The view of `query` or `mutation`.

    Raises:
        RefusedError: A field is not known, or a view refused.
    """
    parsed = parse(document)
    operation = _operation(parsed)
    fragments = {d.name.value: d for d in parsed.definitions if isinstance(d, ast.FragmentDefinitionNode)}
    return _Selection(fragments, _with_defaults(operation, variables)).of(
        operation.selection_set, roots(operation.operation.value)
    )


def _operation(parsed: ast.DocumentNode) -> ast.OperationDefinitionNode:
    return next(d for d in parsed.definitions if isinstance(d, ast.OperationDefinitionNode))


def _with_defaults(operation: ast.OperationDefinitionNode, given: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(given)
    for definition in operation.variable_definitions or ():
        default = definition.default_value
        found.setdefault(definition.variable.name.value, None if default is None else _literal(default, {}))
    return found


class _Selection:
    def __init__(self, fragments: Mapping[str, ast.FragmentDefinitionNode], variables: Mapping[str, Any]) -> None:
        self._fragments = fragments
        self._variables = variables

    def of(self, selected: ast.SelectionSetNode, view: View) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for node in selected.selections:
            if not self._wanted(node):
                continue
            if isinstance(node, ast.FragmentSpreadNode):
                found |= self._fragment(self._fragments[node.name.value], view)
            elif isinstance(node, ast.InlineFragmentNode):
                found |= self._fragment(node, view)
            else:
                found[(node.alias or node.name).value] = self._field(node, view)
        return found

    def _fragment(self, node: Any, view: View) -> dict[str, Any]:
        """What a fragment selects; nothing where it is of another type. Interfaces are not known: their names match."""
        condition = node.type_condition.name.value if node.type_condition else None
        kind = view.get("__typename")
        strict = isinstance(node, ast.InlineFragmentNode) and condition is not None and kind is not None
        return {} if strict and condition not in (kind, view.get("__interface")) else self.of(node.selection_set, view)

    def _field(self, node: ast.FieldNode, view: View) -> Any:
        name = node.name.value
        if name == "__typename":
            return view.get("__typename", "Unknown")
        if name not in view:
            raise RefusedError(f"Cannot query field '{name}' on type '{view.get('__typename', '?')}'")
        value = view[name]
        if callable(value):
            given = node.arguments or ()
            value = value(**{one.name.value: _literal(one.value, self._variables) for one in given})
        return self._filled(node.selection_set, value)

    def _filled(self, selected: ast.SelectionSetNode | None, value: Any) -> Any:
        if value is None or selected is None:
            return value
        return [self._filled(selected, one) for one in value] if isinstance(value, list) else self.of(selected, value)

    def _wanted(self, node: ast.SelectionNode) -> bool:
        for directive in node.directives or ():
            condition = bool(_literal(directive.arguments[0].value, self._variables))
            if condition is (directive.name.value == "skip"):
                return False
        return True


def _literal(node: ast.ValueNode, variables: Mapping[str, Any]) -> Any:
    match node:
        case ast.VariableNode():
            return variables.get(node.name.value)
        case ast.ListValueNode():
            return [_literal(one, variables) for one in node.values]
        case ast.ObjectValueNode():
            return {field.name.value: _literal(field.value, variables) for field in node.fields}
        case ast.NullValueNode():
            return None
        case ast.IntValueNode():
            return int(node.value)
        case _:
            return node.value  # a string, a boolean, the name of an enum
