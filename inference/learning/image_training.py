"""Trains a LoRA of an image model on the pictures of a folder.

How it is built on what both kinds share:

- `training_folder.read_examples(folder, require_texts=False)` reads and checks the pictures; an example without a
  caption takes `request.captions[example.file]`.
- `session.open_work(fingerprint)` empties the folder for checkpoints and features if it is of another training;
  `session.require_disk(bytes)` refuses early; `session.proceed(stage, done, total)` between parts of at most some
  seconds, in every stage: it reports and waits for people.
- `TrainingLoop(session, parameters, LoopSettings(...), loss).run()` trains the LoRA's parameters (float32), with
  checkpoints and resume; `loss(step, rng, noise)` draws everything random from its two generators.
- `adapter_folder.write_adapter(request, report, save)` writes the folder; `save(folder)` writes
  `adapter_model.safetensors`, `adapter_config.json` and `samples/` into the folder that it is given.
- Errors: `TrainingRefused(problem, ...)` with a sentence in `bot/problem_texts/training_problems.py`. Disk, memory and
  missing models become sentences by themselves (`training_run.to_refusal`).
"""

from bot.errors import TrainingRefused
from bot.ports import TrainingReport
from inference.learning.training_session import TrainingSession


def train_image_adapter(session: TrainingSession) -> TrainingReport:
    """Raises: TrainingRefused."""
    raise TrainingRefused("model", model=session.request.model.display_name, detail="image models are not trained yet")
