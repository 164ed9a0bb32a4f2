"""Speed and memory, side by side with what a user would pick instead; never asserted in a test."""
