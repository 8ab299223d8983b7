"""The built-in word lists against sexual content about minors. Owners can add words of their own in the config.

A text is refused if it has a word of `MINORS` and one of `SEXUAL`, or one of `ALWAYS`. `HARMLESS` phrases are ignored.
"""

ALWAYS = ("lolicon", "shotacon", "jailbait", "child porn", "child pornography", "kiddie porn", "kinderporno")

MINORS = (
    "child", "children", "childlike", "kid", "kids", "kiddie", "toddler", "toddlers", "infant", "infants", "baby",
    "babies", "minor", "minors", "underage", "under age", "preteen", "preteens", "tween", "tweens", "teen", "teens",
    "teenage", "teenager", "teenagers", "schoolgirl", "schoolgirls", "schoolboy", "schoolboys", "school girl",
    "school boy", "little girl", "little girls", "little boy", "little boys", "young girl", "young girls", "young boy",
    "young boys", "small girl", "small boy", "loli", "lolita", "shota",
    "kinder", "minderjährig", "minderjährige", "kleines mädchen", "kleiner junge",
    "enfant", "enfants", "mineur", "mineure", "petite fille", "petit garçon",
    "niño", "niña", "niños", "niñas", "menor de edad", "criança", "crianças", "bambino", "bambina", "bambini",
    "ребенок", "дети", "девочка", "мальчик", "школьница", "школьник",
)  # fmt: skip

SEXUAL = (
    "nude", "nudes", "nudity", "naked", "nsfw", "sex", "sexy", "sexual", "sexually", "sexualized", "porn", "porno",
    "porns", "pornographic", "pornography", "erotic", "erotica", "hentai", "topless", "bottomless", "lingerie",
    "blowjob", "orgasm", "orgy", "penis", "vagina", "genitals", "pussy", "boobs", "tits", "masturbating", "masturbate",
    "masturbation", "cumshot", "fuck", "fucking", "fucked", "horny", "seductive", "seductively", "undressed",
    "undressing", "without clothes", "no clothes", "no clothing",
    "nackt", "nackte", "nackter", "nacktes", "erotisch", "nue", "nues", "érotique", "desnudo", "desnuda",
    "desnudos", "desnudas", "nudo", "nuda", "голый", "голая", "голые", "порно", "секс",
)  # fmt: skip

HARMLESS = (
    "same sex", "single sex", "opposite sex", "sex education", "what sex is", "which sex is", "sex of the",
    "sex of this", "baby blue",
)  # fmt: skip
"""Phrases that are common in questions about a photo."""

AGES = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "1[0-7]", "[1-9]",
)  # fmt: skip
"""Years, as parts of a regular expression."""
