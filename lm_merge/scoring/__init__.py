"""What several analyses compute: teacher-forced scores, signals, curvature of tokens."""
