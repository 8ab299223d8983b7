"""Vision-language models that chat: their families, and the engine that runs them."""
