"""Why an adapter cannot be trained."""

from collections.abc import Mapping

from bot.i18n import N_

TRAINING_PROBLEMS: Mapping[str, str] = {
    "no_folder": N_("{folder} is not a folder that Easel can read: check its name and its permissions."),
    "no_metadata": N_(
        "{folder} has no metadata.jsonl. Write one with a line for each example, such as "
        '{{"file_name": "1.jpg", "question": "what is this?", "answer": "a lynx"}}.'
    ),
    "not_utf8": N_("Line {line} of {file} is not UTF-8: save the file as UTF-8."),
    "bad_json": N_("Line {line} of {file} is not a JSON object: {detail}."),
    "no_file_name": N_("Line {line} of {file} has no file_name: add the name of its picture."),
    "no_answer": N_("Line {line} of {file} has no answer: give it a question and an answer, or a caption."),
    "no_question": N_("Line {line} of {file} has an answer without a question: add the question."),
    "not_text": N_("{field} in line {line} of {file} is not a text."),
    "outside": N_("Line {line} of {file}: {image} is outside the folder. Copy the picture into it."),
    "no_image": N_("Line {line} of {file}: there is no picture {image}."),
    "broken_image": N_("Line {line} of {file}: {image} cannot be read as a picture. Replace it or delete the line."),
    "large_image": N_("Line {line} of {file}: {image} is larger than {limit}. Make it smaller."),
    "repeated": N_("Line {line} of {file} repeats line {first}: delete one of them."),
    "contradiction": N_(
        "Line {line} of {file} contradicts line {first}: the same picture and question have another answer. Delete one."
    ),
    "few_examples": N_(
        "{folder} has examples of {count} different pictures, but a training needs at least {limit}. Add some."
    ),
    "many_examples": N_("{folder} has more than {limit} examples: delete some."),
    "large_metadata": N_("{file} is larger than {limit}: split the folder."),
    "long_text": N_("Line {line} of {file} is too long for {model}: it has {count} tokens, and {limit} are allowed."),
    "unknown_words": N_("Line {line} of {file} uses words that {model} cannot write: {detail}. Use words it knows."),
    "no_replay": N_(
        "{folder} has {count} pictures, but replay needs at least {limit}: add some, or choose other ones."
    ),
    "model": N_("{model} cannot be trained: {detail}."),
    "disk_full": N_("The disk is full. Free some space, then start the training again: it resumes where it stopped."),
    "disk_small": N_("The training needs {need} of free disk space, and {free} are free. Free some space first."),
    "unwritable": N_("{folder} cannot be written ({detail}): check its permissions."),
    "no_memory": N_(
        "Memory ran out during the training. Unload other models or choose a smaller one, then start it again: it "
        "resumes where it stopped."
    ),
    "ended": N_(
        "The process of the training ended, perhaps because memory ran out. Start it again: it resumes where it "
        "stopped."
    ),
    "failed": N_("The training failed ({detail}); nothing has changed. The log has the details."),
    "nothing": N_("Name a folder with examples, or learn from corrections (--corrections)."),
    "relative": N_("{folder}: give the whole path of the folder on the server's machine."),
    "stored": N_(
        "{folder} has people's pictures, and only corrections that they allowed to be used are learned from: name "
        "another folder."
    ),
    "no_corrections": N_("There are no corrections yet that may be used for training."),
    "no_model": N_("No installed model can learn that: install one first, with `easel models use`."),
    "wrong_model": N_(
        "{model} cannot learn that: name a model that answers questions for `train vision`, or one that draws for "
        "`train image`."
    ),
    "chats": N_("{model} cannot learn that: only BLIP-2 models learn answers. Name one of them."),
    "not_installed": N_("{model} is not installed: `easel models use {name}` installs it."),
    "name": N_("{name} is not a valid adapter name: use 1 to 64 of a-z, 0-9 and -, but not none or auto."),
    "running": N_("{name} is being trained already: wait for it, cancel it, or choose another name."),
    "taken": N_("There is an adapter {name} already: choose another name, or replace it (--replace)."),
    "name_taken": N_("A model or an add-on is called {name}: choose another name for the adapter (--name)."),
    "not_replaced": N_("The new {name} failed its test, so the one before stays as it is. {reason}"),
    "not_switched_on": N_("{name} passed its test, but cannot be switched on. {reason}"),
    "not_saved": N_(
        "The adapter could not be recorded. {reason} Start the training again: it resumes where it stopped."
    ),
    "diverged": N_("The training did not work: its loss is no number any more. Start it again with another --seed."),
    "large": N_(
        "{file} is too large for the vision model to caption it: make it smaller, or add a text file of its name."
    ),
    "repeated_file": N_("{file} is the same picture as {first}: delete one of them."),
    "large_file": N_("{file} is larger than {limit}: make it smaller or take it out of the folder."),
    "memory": N_("Training needs about {needed} of memory, and {free} are free. Unload models first."),
    "over": N_("The training of {name} has already ended."),
    "stopped": N_("The training was cancelled; nothing was kept."),
    "withdrawn": N_("A correction was withdrawn during the training of {name}, so nothing was kept. Start it again."),
    "no_caption": N_(
        "{file} has no caption, and no vision model here can write one: add a text file of its name, or name what it "
        "shows with --words."
    ),
    "broken": N_("{file} cannot be read as a picture: replace it or take it out of the folder."),
}
"""By the name of the problem, as in `TrainingRefused.problem`; `TrainingRefused.data` goes into the sentence."""
