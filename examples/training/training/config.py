"""What a training is told."""

from dataclasses import dataclass, field


@dataclass
class TrainingConfig:
    """How to train. A `seed` of 42 splits the data, orders it, and decides what is drawn."""

    num_epochs: int = 3
    batch_size: int = 8
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-2
    lr_from: str | None = None
    checkpoint_every_n_steps: int = 1000
    keep_last: int = 3
    validation: float = 0.1
    seed: int = 42


@dataclass
class Config:
    """A training's settings, and where its checkpoints go."""

    training: TrainingConfig = field(default_factory=TrainingConfig)
    output_dir: str = "./output"


def create_default_config() -> Config:
    """Return the settings that a training has if it is told nothing."""
    return Config()
