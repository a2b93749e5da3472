"""What layouts share: the builder, components, steps, single files and tables in memory."""
