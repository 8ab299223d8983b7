"""OpenAPI schemas of the names that a prompt may use, and of recipes."""

from typing import Any

from pydantic import BaseModel, Field

from adapters.web.schemas import ImageInfo


class StyleInfo(BaseModel):
    name: str
    prompt: str = Field(description="`{prompt}` is the typed prompt, which otherwise comes first")
    negative: str
    models: list[str] = Field(description="The models that use all of it")


class StylePage(BaseModel):
    styles: list[StyleInfo]
    total: int = Field(description="How many match; the list has at most 1,000, here and for other names")


class LoraInfo(BaseModel):
    name: str
    kind: str = Field(description="lora or inversion")
    title: str = Field(description="Its author's title, or the name of its file")
    insert: str = Field(description="What to write into the prompt")
    family: str | None
    models: list[str] = Field(description="The installed models that it was made for, as far as is known")
    base_model: str | None = Field(description="What its file says that it was trained on")
    trigger_words: list[str]
    weight: float | None = Field(description="The weight that its author recommends, else 1; null for an inversion")


class LoraPage(BaseModel):
    loras: list[LoraInfo]
    total: int


class WildcardInfo(BaseModel):
    name: str
    insert: str
    lines: int | None = Field(description="null: not read yet")
    examples: list[str]


class WildcardPage(BaseModel):
    wildcards: list[WildcardInfo]
    total: int


class RecipeImageInfo(ImageInfo):
    available: bool = Field(description="false: it is deleted")


class RecipeInfo(BaseModel):
    """`words`, `all` and `all_but_seed` are options of POST /jobs; the available images go with the last two."""

    job: str
    command: str
    words: dict[str, Any] = Field(description="The texts as they were typed, and the style by its name")
    all: dict[str, Any] = Field(description="What makes the same again; what the defaults give today is left out")
    all_but_seed: dict[str, Any]
    given: list[str] = Field(description="The options that were given")
    defaults: dict[str, Any] = Field(description="The other options, with the values that the job had")
    images: list[RecipeImageInfo]
    seeds: list[int | None] = Field(description="Of each picture; null: it is deleted")
    notes: list[str] = Field(description="What can no longer be repeated")
