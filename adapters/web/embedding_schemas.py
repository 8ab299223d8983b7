"""Body and response of `/api/v1/embeddings`."""

from pydantic import BaseModel, ConfigDict, Field

MAX_TEXT = 1000


class EmbeddingBody(BaseModel):
    """Either of both."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str | None = Field(None, max_length=MAX_TEXT)
    image: str | None = Field(None, description="Id of one of the caller's images", max_length=64)


class EmbeddingInfo(BaseModel):
    model: str
    revision: str = Field(description="Of the model: vectors of different revisions cannot be compared")
    vectors: list[list[float]] = Field(description="Of length 1: one of a text, several of an image")
    mean: list[float] = Field(description="The mean of the vectors, which may be shorter")
