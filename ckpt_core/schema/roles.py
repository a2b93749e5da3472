"""Profiles, and the roles that components have in them."""

from dataclasses import dataclass
from enum import Enum

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.schema.text import printable


class Profile(Enum):
    """A purpose of a checkpoint.

    Compute with the weights, train on, or train on as if nothing had happened in between.
    """

    INFERENCE = "inference"
    RESUME = "resume"
    EXACT_RESUME = "exact-resume"


def profile_named(spelling: object) -> Profile:
    """Return the profile with a given spelling.

    Understood are spellings as `resume`, `exact-resume` and `EXACT_RESUME`. UsageError where it is none.
    """
    if isinstance(spelling, Profile):
        return spelling
    if isinstance(spelling, str) and (name := spelling.strip().upper().replace("-", "_")) in Profile.__members__:
        return Profile[name]
    known = ", ".join(profile.value for profile in Profile)
    raise UsageError(f"{argument('profile')}: {printable(repr(spelling), 80)} is no profile; known are {known}")


class Presence(Enum):
    """The state of a component in a checkpoint.

    Unreadable is not absent, nor is empty, synthesized is not saved, narrowed is not as trained.
    """

    PRESENT = "present"
    ABSENT = "absent"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    NOT_NEEDED = "not needed"
    DERIVED = "derived"
    SYNTHESIZED = "synthesized"
    NARROWED = "narrowed"


@dataclass(frozen=True, slots=True)
class Role:
    """A format's knowledge of a component besides its content.

    It says where the component is kept, and what became of it.

    Attributes:
        kind: Kind of the component.
        presence: What became of it. A component of the manifest is present without a role.
        where: The file, or the key in it, that holds it or would hold it.
        note: Why it is not needed, what it is derived from, or what is wrong with it.
        name: Where there are several of a kind: the rank of an rng, say.
        needed_for: The least demanding profile that needs it; None for what `NEEDS` says of its kind.
    """

    kind: str
    presence: Presence
    where: str = ""
    note: str = ""
    name: str = ""
    needed_for: Profile | None = None

    @property
    def label(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind
