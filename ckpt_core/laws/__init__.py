"""Laws: what must hold between the parts of a checkpoint for the tools of its format to use it; no IO."""
