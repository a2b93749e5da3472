"""What several trainers compute from logits: likelihoods of the tokens that follow, and losses made of them."""

from torch import Tensor, nn
from torch.nn import functional

from minillm.model import balance_loss


def log_probs(model: nn.Module, tokens: Tensor) -> Tensor:
    """Log-probability of each token after the first, of shape (batch, tokens - 1)."""
    logits = model(tokens[:, :-1]).float()
    return logits.log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean where the mask is 1; it weighs where it is more."""
    return (values * mask).sum() / (mask > 0).sum().clamp(min=1)


def next_token_loss(model: nn.Module, tokens: Tensor, mask: Tensor) -> Tensor:
    """Cross entropy of the masked tokens, and the experts' balance."""
    return -masked_mean(log_probs(model, tokens), mask[:, 1:]) + balance_loss(model)


def divergence(teacher: Tensor, student: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) at a temperature, averaged over masked positions; logits in."""
    p, q = ((logits.float() / temperature).log_softmax(-1) for logits in (teacher, student))
    return masked_mean(functional.kl_div(q, p, log_target=True, reduction="none").sum(-1), mask) * temperature**2


def clipped_loss(new: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    """PPO's clipped surrogate (Schulman et al. 2017, equation 7), to be made small."""
    ratio = (new - old).exp()
    surrogate = (ratio * advantages).minimum(ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -masked_mean(surrogate, mask)


def reference_penalty(new: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """An unbiased, never negative estimate of KL(policy || reference) (Shao et al. 2024, equation 4)."""
    gap = reference - new
    return masked_mean(gap.exp() - gap - 1, mask)
