"""Group relative policy optimisation: several answers to each question, each judged against the others of its group.

The advantage of an answer is its reward less the group's mean, over the group's deviation; the clipped surrogate is
PPO's, without a critic, and leaving the start is penalised (Shao et al. 2024, section 4.1).
"""

from collections.abc import Sequence
from typing import Any

from minillm.data import Row
from minillm.loop import Figures, Training, new_model, parser_of, run_command, starting_point
from minillm.losses import clipped_loss, log_probs, reference_penalty
from minillm.rollouts import add_sampling_arguments, sample
from torch import Tensor


def group_advantages(rewards: Tensor, size: int) -> Tensor:
    """Advantages of answers that stand group by group; those of a group add up to 0."""
    groups = rewards.view(-1, size)
    centred = groups - groups.mean(-1, keepdim=True)
    return (centred / (groups.std(-1, keepdim=True, correction=0) + 1e-4)).flatten()


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    parser = parser_of(
        __doc__, stage="grpo", load_stage="full_sft", data="rl_prompts.jsonl", learning_rate=3e-4, epochs=4
    )
    parser.add_argument("--num_generations", type=int, default=6, help="answers in a group")
    add_sampling_arguments(parser)
    parser.add_argument("--beta", type=float, default=0.02, help="how much it costs to leave the start")
    args = parser.parse_args(argv)
    reference, model = starting_point(args), new_model(args)
    training = Training(args, model)

    def step(rows: list[Row]) -> Figures:
        found = sample(model, [row for row in rows for _ in range(args.num_generations)], args.max_gen_len)
        advantages = group_advantages(found.rewards, args.num_generations)
        start = log_probs(reference, found.tokens)
        for _ in range(args.updates):
            new = log_probs(model, found.tokens)
            surrogate = clipped_loss(new, found.old, advantages[:, None], found.mask, args.clip)
            loss = training.descend(surrogate + args.beta * reference_penalty(new, start, found.mask))
        sums = advantages.view(-1, args.num_generations).sum(-1)
        return {"loss": loss, "reward": found.rewards.mean().item(), "advantage_sum": sums.abs().max().item()}

    return training.run(step)


if __name__ == "__main__":
    run_command(main)
