"""Schemas of the REST bodies of trainings."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["vision", "image"]
    folder: str = Field("", description="On the server's machine; may be empty with corrections", max_length=4096)
    model: str = Field("", description="Default: the one in use", max_length=200)
    name: str = Field("", description="Of the adapter; default: the folder's", max_length=200)
    words: str = Field("", description="Of an image adapter: the words for it in prompts", max_length=200)
    replay: str = Field("own", description="own, none, or a folder of images that keep old knowledge", max_length=4096)
    steps: int = Field(0, description="0: as many as the examples need", ge=0, le=100_000)
    seed: int = Field(0, ge=0, le=4_294_967_295)
    corrections: bool = Field(False, description="Learn from the corrections that people allowed to be used")
    replace: bool = Field(False, description="An adapter of the same name")
