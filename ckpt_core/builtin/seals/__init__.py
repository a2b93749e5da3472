"""The plugin of seals: checks a checkpoint against its seal, and repairs the seal."""
