"""What a prompt may contain and what it resolves to: grammar, wildcards, styles, combinations."""
