"""Each module measures one thing beside a peer: `run()` returns its figures, `sentence(figures)` says them."""
