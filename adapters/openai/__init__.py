"""OpenAI's API below `/v1`: images, questions about images, captions and embeddings, for programs that speak it.

Every call goes through `adapters.web.client_calls`, so quota, moderation, ownership and history are those of REST.
"""

from adapters.openai.openai_app import build_app

__all__ = ["build_app"]
