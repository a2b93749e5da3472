"""The commands of stores of versions, each imported when it is called."""
