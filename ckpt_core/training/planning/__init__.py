"""What a resume would do, as rows that a person reads, and what carries those rows out."""
