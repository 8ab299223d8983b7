"""The objects of the world: their names, icons and synonyms.

A line reads `name=icon` or `name=icon|synonym,synonym`; the icons are those of Noto Emoji.
"""

from __future__ import annotations

from dataclasses import dataclass

_ANIMALS = """
dog=dog-face|puppy,doggy  cat=cat-face|kitty,kitten  lion=lion  tiger=tiger-face  bear=bear  panda=panda  koala=koala
fox=fox  wolf=wolf  monkey=monkey-face|ape  rabbit=rabbit-face|bunny,hare  mouse=mouse-face  pig=pig-face|piglet
cow=cow-face  horse=horse-face|pony  frog=frog|toad  unicorn=unicorn  dragon=dragon  elephant=elephant
giraffe=giraffe
zebra=zebra  kangaroo=kangaroo  camel=camel  deer=deer  gorilla=gorilla
hippo=hippopotamus|hippopotamus
sheep=ewe|lamb  squirrel=chipmunk|chipmunk  hedgehog=hedgehog  bat=bat  penguin=penguin  owl=owl  duck=duck
parrot=parrot|bird  flamingo=flamingo  peacock=peacock  rooster=rooster|chicken,hen  chick=front-facing-baby-chick
snake=snake  turtle=turtle|tortoise  crocodile=crocodile|alligator  dinosaur=sauropod|dino  whale=spouting-whale
dolphin=dolphin  shark=shark  octopus=octopus  fish=tropical-fish  crab=crab  shrimp=shrimp|prawn
jellyfish=jellyfish  snail=snail  butterfly=butterfly  bee=honeybee|bumblebee  ladybug=lady-beetle|ladybird
spider=spider
"""
_FOOD = """
apple=red-apple  pear=pear  tangerine=tangerine|mandarin  lemon=lemon  banana=banana  watermelon=watermelon|melon
grapes=grapes|grape  strawberry=strawberry  cherries=cherries|cherry  peach=peach  pineapple=pineapple  kiwi=kiwi-fruit
tomato=tomato  eggplant=eggplant|aubergine  avocado=avocado  broccoli=broccoli  carrot=carrot  corn=ear-of-corn|maize
chili=hot-pepper|pepper  mushroom=mushroom|toadstool  bread=bread|toast,loaf  croissant=croissant  pretzel=pretzel
pancakes=pancakes|pancake  cheese=cheese-wedge  burger=hamburger|hamburger,cheeseburger  fries=french-fries|chips
pizza=pizza  hotdog=hot-dog  sandwich=sandwich  taco=taco  egg=egg  popcorn=popcorn  sushi=sushi
noodles=steaming-bowl|ramen,soup  gelato=soft-ice-cream|icecream  donut=doughnut|doughnut  cookie=cookie|biscuit
cake=birthday-cake  cupcake=cupcake|muffin  chocolate=chocolate-bar  candy=candy|bonbon  lollipop=lollipop
coffee=hot-beverage|espresso,cappuccino  teapot=teapot|tea  wine=wine-glass  beer=beer-mug
"""
_VEHICLES = """
car=automobile|auto,automobile  taxi=taxi|cab  bus=bus  truck=delivery-truck|lorry,van  tractor=tractor
ambulance=ambulance  firetruck=fire-engine  train=locomotive|locomotive  bicycle=bicycle|bike,cycle
motorcycle=motorcycle|motorbike  skateboard=skateboard  airplane=airplane|plane,aeroplane,jet
helicopter=helicopter|chopper  rocket=rocket|spaceship  ufo=flying-saucer|saucer  ship=ship|boat
sailboat=sailboat|yacht  anchor=anchor
"""
_NATURE = """
tree=deciduous-tree|oak  pine=evergreen-tree|fir  palm=palm-tree  cactus=cactus  rose=rose  tulip=tulip
sunflower=sunflower  flower=blossom|daisy  clover=four-leaf-clover|shamrock  leaf=maple-leaf
sun=sun|sunshine  moon=crescent-moon  cloud=cloud  rain=cloud-with-rain|raincloud  lightning=high-voltage|bolt,thunder
snowflake=snowflake|snow  snowman=snowman-without-snow  tornado=tornado|hurricane  rainbow=rainbow
umbrella=umbrella|parasol  fire=fire|flame  drop=droplet|water,droplet  wave=water-wave|ocean,sea  volcano=volcano
mountain=snow-capped-mountain  planet=ringed-planet|saturn  earth=globe-showing-europe-africa|globe,world
"""
_BUILDINGS = """
house=house|home  castle=castle  church=church  hospital=hospital  school=school  factory=factory  tent=tent
tower=tokyo-tower
"""
_FIGURES = """
smiley=smiling-face-with-smiling-eyes|smile,emoji  clown=clown-face
devil=smiling-face-with-horns|demon  ghost=ghost  alien=alien  robot=robot|android  skull=skull  monster=alien-monster
pumpkin=jack-o-lantern  santa=santa-claus  baby=baby  eye=eye  ear=ear  nose=nose  mouth=mouth|lips  brain=brain
tooth=tooth  bone=bone  hand=raised-hand  foot=foot
"""
_THINGS = """
hammer=hammer  wrench=wrench|spanner  axe=axe|ax  knife=kitchen-knife  sword=dagger|dagger  bomb=bomb  key=key
lock=locked|padlock  scissors=scissors  pencil=pencil  book=closed-book
envelope=envelope|letter,mail  phone=mobile-phone|smartphone  laptop=laptop|computer  camera=camera
television=television|tv  clock=alarm-clock  hourglass=hourglass-done  lightbulb=light-bulb|bulb  candle=candle
magnet=magnet  bed=bed  chair=chair  couch=couch-and-lamp|sofa  door=door
bucket=bucket  gift=wrapped-gift|present  balloon=balloon  trophy=trophy  crown=crown  ring=ring  gem=gem-stone|jewel
glasses=glasses|spectacles  sunglasses=sunglasses|shades  shirt=t-shirt|tshirt  jeans=jeans|trousers,pants  dress=dress
sneaker=running-shoe|shoe,trainer  boot=hiking-boot|boots  hat=top-hat  backpack=backpack|rucksack  guitar=guitar
piano=musical-keyboard  violin=violin|fiddle  trumpet=trumpet  drum=drum  microphone=microphone|mic
headphones=headphone  bell=bell  dice=game-die|die  teddy=teddy-bear  kite=kite  basketball=basketball
football=american-football|rugby  soccer=soccer-ball  target=bullseye|bullseye  flag=triangular-flag
"""
PLURAL = frozenset(
    {
        "grapes", "cherries", "pancakes", "fries", "noodles", "scissors", "glasses", "sunglasses", "jeans",
        "headphones", "dice",
    }
)  # fmt: skip
"""Names that are already plural and have no article."""
_IRREGULAR_PLURALS = {
    "mouse": "mice", "wolf": "wolves", "sheep": "sheep", "deer": "deer", "fish": "fish", "knife": "knives",
    "leaf": "leaves", "foot": "feet", "tooth": "teeth", "shrimp": "shrimp", "snowman": "snowmen",
    "tomato": "tomatoes", "popcorn": "popcorn", "broccoli": "broccoli", "jellyfish": "jellyfish",
}  # fmt: skip


@dataclass(frozen=True)
class ObjectEntry:
    """An object's icon, and its synonyms."""

    icon: str
    synonyms: tuple[str, ...]


def _parse(*groups: str) -> dict[str, ObjectEntry]:
    entries: dict[str, ObjectEntry] = {}
    for line in " ".join(groups).split():
        name, _, rest = line.partition("=")
        icon, _, synonyms = rest.partition("|")
        entries[name] = ObjectEntry(icon, tuple(synonyms.split(",")) if synonyms else ())
    return entries


OBJECTS = _parse(_ANIMALS, _FOOD, _VEHICLES, _NATURE, _BUILDINGS, _FIGURES, _THINGS)


def plural(name: str) -> str:
    """The plural: `cats`."""
    if name in PLURAL:
        return name
    if name in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[name]
    if name.endswith(("s", "x", "ch", "sh")):
        return f"{name}es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}s"
