"""What a command line can say: references, and options that formats declare."""
