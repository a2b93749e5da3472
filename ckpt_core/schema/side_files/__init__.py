"""Files that lie beside the data: our seals and marks, and what other programs leave."""
