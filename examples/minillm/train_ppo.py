"""Proximal policy optimisation: an actor that answers, and a critic that says at each token what is to be expected.

The reward comes at the end of an answer; on the way, leaving the start costs. Advantages are generalised estimates
(Schulman et al. 2016) over the critic's values, and the surrogate is clipped (Schulman et al. 2017). Two weights files
are written, `ppo_actor` and `ppo_critic`; the resume file holds both.
"""

from collections.abc import Sequence
from typing import Any

import torch
from ckpt_minillm import init_from_args, save_checkpoint
from minillm.data import Row
from minillm.loop import Figures, Training, config_of, new_model, parser_of, run_command, starting_point
from minillm.losses import clipped_loss, log_probs, masked_mean
from minillm.model import Critic
from minillm.rollouts import add_sampling_arguments, sample
from torch import Tensor


def generalised_advantages(rewards: Tensor, values: Tensor, mask: Tensor, discount: float, decay: float) -> Tensor:
    """Advantages of masked tokens, all of shape (batch, tokens); nothing is expected after an answer's last token."""
    advantages = torch.zeros_like(rewards)
    running = torch.zeros(len(rewards))
    following = torch.zeros(len(rewards))
    for at in reversed(range(rewards.shape[1])):
        surprise = rewards[:, at] + discount * following - values[:, at]
        running = (surprise + discount * decay * running) * mask[:, at]
        following = values[:, at] * mask[:, at]
        advantages[:, at] = running
    return advantages


def token_rewards(answers: Tensor, mask: Tensor, strayed: Tensor, cost: float) -> Tensor:
    """What each token is paid: the cost of straying, and at the last of an answer what the answer is worth."""
    last = mask * (mask.flip(-1).cumsum(-1).flip(-1) == 1)
    return last * answers[:, None] - cost * strayed * mask


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    parser = parser_of(
        __doc__, stage="ppo_actor", load_stage="full_sft", data="rl_prompts.jsonl", learning_rate=3e-4, batch_size=8
    )
    parser.set_defaults(epochs=12)
    parser.add_argument("--critic_learning_rate", type=float, default=1e-3)
    add_sampling_arguments(parser)
    parser.add_argument("--beta", type=float, default=0.02, help="how much it costs to leave the start")
    parser.add_argument("--discount", type=float, default=1.0)
    parser.add_argument("--decay", type=float, default=0.95, help="GAE's λ")
    args = parser.parse_args(argv)
    reference, actor = starting_point(args), new_model(args)
    critic = new_critic(args)
    critic_optimizer = torch.optim.AdamW(critic.parameters(), lr=args.critic_learning_rate)
    training = PPOTraining(args, actor, extra={"critic_model": critic, "critic_optimizer": critic_optimizer})

    def step(rows: list[Row]) -> Figures:
        found = sample(actor, rows, args.max_gen_len)
        with torch.no_grad():
            strayed = found.old - log_probs(reference, found.tokens)
            values = critic(found.tokens[:, :-1])
            rewards = token_rewards(found.rewards, found.mask, strayed, args.beta)
            advantages = generalised_advantages(rewards, values, found.mask, args.discount, args.decay)
            returns = advantages + values
        for _ in range(args.updates):
            loss = training.descend(
                clipped_loss(log_probs(actor, found.tokens), found.old, advantages, found.mask, args.clip)
            )
            critic_loss = masked_mean((critic(found.tokens[:, :-1]) - returns).square(), found.mask)
            critic_optimizer.zero_grad(set_to_none=True)
            critic_loss.backward()
            critic_optimizer.step()
        expected = masked_mean(values, found.mask).item()
        return {
            "loss": loss,
            "critic_loss": critic_loss.item(),
            "reward": found.rewards.mean().item(),
            "value": expected,
        }

    return training.run(step)


def new_critic(args: Any) -> Critic:
    """A critic on the decoder that the actor starts with; its head has to be learnt."""
    torch.manual_seed(args.seed)
    critic = Critic(config_of(args))
    start = type(args)(**{**vars(args), "from_resume": "0"})
    init_from_args(critic, start, allow_missing=("value_head.*",), allow_unexpected=("lm_head.weight",))
    return critic


class PPOTraining(Training):
    """A training that writes the critic's weights too."""

    def save(self, epoch: int, number: int) -> None:
        super().save(epoch, number)
        assert self.extra is not None
        saved = save_checkpoint(self.extra["critic_model"], self.args, stage="ppo_critic")
        print(f"saved {', '.join(saved.paths)}", flush=True)


if __name__ == "__main__":
    run_command(main)
