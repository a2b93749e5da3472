"""What a name in a pickle would do: one table, and the verdict on a name with its arguments."""
