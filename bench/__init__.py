"""What jailkit costs, beside what others take for the same. Run by scripts/bench."""
