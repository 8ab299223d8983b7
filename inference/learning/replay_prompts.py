"""Prompts of the starter image model, whose pictures are replayed while a vision model learns."""

import numpy as np

_OBJECTS = """
dog cat lion tiger bear panda koala fox wolf monkey rabbit mouse pig cow horse frog unicorn dragon elephant giraffe
zebra kangaroo camel deer gorilla hippo sheep squirrel hedgehog bat penguin owl duck parrot flamingo peacock rooster
chick snake turtle crocodile dinosaur whale dolphin shark octopus fish crab shrimp jellyfish snail butterfly bee
ladybug spider apple pear tangerine lemon banana watermelon grapes strawberry cherries peach pineapple kiwi tomato
eggplant avocado broccoli carrot corn chili mushroom bread croissant pretzel pancakes cheese burger fries pizza hotdog
sandwich taco egg popcorn sushi noodles gelato donut cookie cake cupcake chocolate candy lollipop coffee teapot wine
beer car taxi bus truck tractor ambulance firetruck train bicycle motorcycle skateboard airplane helicopter rocket ufo
ship sailboat anchor tree pine palm cactus rose tulip sunflower flower clover leaf sun moon cloud rain lightning
snowflake snowman tornado rainbow umbrella fire drop wave volcano mountain planet earth house castle church hospital
school factory tent tower smiley clown devil ghost alien robot skull monster pumpkin santa baby eye ear nose mouth
brain tooth bone hand foot hammer wrench axe knife sword bomb key lock scissors pencil book envelope phone laptop
camera television clock hourglass lightbulb candle magnet bed chair couch door bucket gift balloon trophy crown ring
gem glasses sunglasses shirt jeans dress sneaker boot hat backpack guitar piano violin trumpet drum microphone
headphones bell dice teddy kite basketball football soccer target flag
""".split()  # noqa: SIM905 - more than two hundred quoted words would hide what the list is
_SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "hexagon", "cross")
_COLORS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "black", "white", "gray", "brown", "cyan")


def make_prompts(count: int, seed: int) -> list[str]:
    """Different things first, each on some background, a third of them plain shapes."""
    rng = np.random.default_rng(seed)
    things = [*_OBJECTS, *(f"{color} {shape}" for shape in _SHAPES for color in _COLORS)]
    order = [things[number] for _ in range(-(-count // len(things))) for number in rng.permutation(len(things))]
    return [f"{thing} on {_background(thing, rng)} background" for thing in order[:count]]


def _background(thing: str, rng: np.random.Generator) -> str:
    """With its article; never the thing's own color."""
    color = str(rng.choice([color for color in _COLORS if not thing.startswith(color)]))
    return f"an {color}" if color == "orange" else f"a {color}"
