"""Scene descriptions and the grammar that turns them into captions.

A scene is a small dict of discrete choices.  What a caption does not mention is
either a fixed default (clear day, still camera, the natural motion of a thing)
or, where there is no natural default, left to the noise: the renderer then
takes the choice from the clip's composition code (see world.py).  So a short
prompt, and even the empty one, still describes exactly one video per seed, and
a few-step sampler need not average over many.
"""
import random

LANDSCAPES = ("sea", "hills", "desert", "snow", "city")
TIMES = ("dawn", "day", "sunset", "night")
WEATHERS = ("clear", "clouds", "rain", "snowfall")
KINDS = ("ball", "cube", "ring", "star", "balloon", "boat", "bird", "car")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black", "brown")
MOTIONS = ("float", "bounce", "roll", "drift", "rise", "circle", "spin", "flap")
CAMERAS = ("still", "left", "right", "zoom")
OPEN = -1  # not in the caption: decided by the composition code

# Motions a kind can have; the first is what it does when nothing is said.
KIND_MOTIONS = {
    "ball": ("bounce", "roll", "drift", "rise", "circle", "spin", "float"),
    "cube": ("spin", "bounce", "drift", "rise", "circle", "float"),
    "ring": ("roll", "spin", "bounce", "drift", "rise", "circle", "float"),
    "star": ("float", "spin", "drift", "rise", "circle", "bounce"),
    "balloon": ("float", "rise", "drift", "circle"),
    "boat": ("drift", "float"),
    "bird": ("flap", "drift", "circle"),
    "car": ("drift", "float"),
}

WORDS = {
    "ball": ("ball", "ball", "ball", "sphere", "beach ball", "round ball"),
    "cube": ("cube", "cube", "box", "block", "crate"),
    "ring": ("ring", "ring", "hoop", "wheel"),
    "star": ("star", "star", "five-pointed star", "toy star"),
    "balloon": ("balloon", "balloon", "hot air balloon", "air balloon"),
    "boat": ("sailing boat", "sailboat", "boat", "ship", "yacht", "sail boat"),
    "bird": ("bird", "bird", "little bird", "seagull"),
    "car": ("car", "car", "automobile", "little car", "toy car"),
    "red": ("red", "red", "crimson", "scarlet", "bright red"),
    "orange": ("orange", "orange", "bright orange"),
    "yellow": ("yellow", "yellow", "golden", "gold", "bright yellow"),
    "green": ("green", "green", "emerald", "lime green"),
    "blue": ("blue", "blue", "deep blue", "azure", "navy blue"),
    "purple": ("purple", "purple", "violet", "lilac"),
    "pink": ("pink", "pink", "rose", "magenta"),
    "white": ("white", "white", "snow-white", "pale white"),
    "black": ("black", "black", "jet black"),
    "brown": ("brown", "brown", "chestnut"),
}
PLACES = {
    "sea": ("on the sea", "over the sea", "on the ocean", "at sea", "on the water", "above the waves",
            "on a calm sea", "by the ocean", "over blue water"),
    "hills": ("on green hills", "over the hills", "in a hilly landscape", "over rolling hills", "on a meadow",
              "on the grass", "in the countryside", "over green fields", "on a grassy hill"),
    "desert": ("in the desert", "through the desert", "over sand dunes", "on the sand", "in a sandy desert",
               "among the dunes", "over the desert"),
    "snow": ("in the snow", "over a snowy landscape", "in a snowy landscape", "on snowy mountains",
             "in a winter landscape", "over snow-covered mountains", "on the snow", "in winter"),
    "city": ("in the city", "in front of a city skyline", "over the city", "in a city street",
             "against the skyline of a city", "in town", "before tall buildings", "on a city road"),
}
PLACE_NOUNS = {
    "sea": ("the sea", "an ocean", "the open sea"), "hills": ("green hills", "rolling hills", "a meadow"),
    "desert": ("a desert", "sand dunes", "the desert"), "snow": ("a snowy landscape", "snowy mountains"),
    "city": ("a city", "a city skyline", "tall buildings"),
}
WHEN = {
    "dawn": ("at dawn", "at sunrise", "early in the morning", "in the morning light", "at daybreak"),
    "day": ("by day", "during the day", "at noon", "in daylight", "on a bright day", "in the afternoon"),
    "sunset": ("at sunset", "in the evening", "at dusk", "in the evening light", "as the sun sets"),
    "night": ("at night", "by night", "under the stars", "in the moonlight", "under a starry sky",
              "on a dark night", "under the moon"),
}
SKY = {
    "clear": ("under a clear sky", "with a clear sky", "in clear weather", "without clouds"),
    "clouds": ("under a cloudy sky", "with clouds in the sky", "with drifting clouds", "on a cloudy day",
               "below white clouds"),
    "rain": ("in the rain", "while it rains", "on a rainy day", "in heavy rain", "with rain falling"),
    "snowfall": ("while it snows", "in falling snow", "with snowflakes falling", "during snowfall",
                 "in a snow storm"),
}
SENTENCES = {
    "clear": ("The sky is clear.", "There are no clouds."),
    "clouds": ("Clouds drift across the sky.", "The sky is cloudy."),
    "rain": ("It is raining.", "Rain is falling.", "It rains."),
    "snowfall": ("It is snowing.", "Snow is falling.", "Snowflakes fall."),
    "dawn": ("It is early morning.", "The sun is rising."),
    "day": ("It is a bright day.", "The sun shines."),
    "sunset": ("The sun is setting.", "It is evening."),
    "night": ("It is night.", "Stars and the moon light the sky.", "The moon shines."),
    "left": ("The camera pans left.", "The camera moves to the left."),
    "right": ("The camera pans right.", "The camera moves to the right."),
    "zoom": ("The camera zooms slowly.", "A slow zoom.", "The camera zooms in and out."),
    "still": ("The camera is still.", "A static shot."),
}
CAMERA = {
    "left": ("camera pans left", "panning left", "camera moving left"),
    "right": ("camera pans right", "panning right", "camera moving right"),
    "zoom": ("slow zoom", "camera zooming", "zooming camera"),
    "still": ("still camera", "static camera"),
}
MOTION_WORDS = {
    "float": ("floating", "hovering", "standing still", "resting", "floating in place"),
    "bounce": ("bouncing", "bouncing up and down", "jumping", "hopping", "that bounces"),
    "roll": ("rolling", "rolling along", "that rolls"),
    "drift": ("drifting", "moving", "gliding", "floating by"),
    "rise": ("rising", "rising up", "going up", "floating upwards", "that rises into the sky"),
    "circle": ("circling", "flying in circles", "moving in a circle", "going round and round"),
    "spin": ("spinning", "rotating", "turning around", "that spins", "twirling"),
    "flap": ("flapping its wings", "flapping", "beating its wings", "hovering with flapping wings"),
}
OWN_DRIFT = {
    "boat": ("sailing", "sailing", "drifting", "moving", "sailing along"),
    "bird": ("flying", "flying", "gliding", "soaring"),
    "car": ("driving", "driving", "riding", "rolling", "moving"),
}
SIDES = {1: ("to the right", "right", "rightwards", "from left to right"),
         -1: ("to the left", "left", "leftwards", "from right to left")}
OPENINGS = ("", "", "", "", "", "", "an animation of ", "a video of ", "a cartoon of ", "a clip of ",
            "a scene with ", "we see ", "a short film of ", "a picture of ")

# Words people may type that no caption has; only the tokenizer sees them.
COMMON_WORDS = """the of and to in is you that it he was for on are as with his they at be this have from or one had
by word but not what all were we when your can said there use each which she do how their if will up other about out
many then them these so some her would make like him into time has look two more write go see number no way could
people my than first water been call who its now find long down day did get come made may part new sound take only
little work know place year live me back give most very after thing our just name good sentence man think say great
where help through much before line right too mean old any same tell boy follow came want show also around form three
small set put end does another well large must big even such because turn here why ask went men read need land
different home us move try kind hand picture again change off play spell air away animal house point page letter
mother answer found study still learn should world high every near add food between own below country plant last
school father keep tree never start city earth eye light thought head under story saw left few while along might
close something seem next hard open example begin life always those both paper together got group often run important
until children side feet car mile night walk white sea began grow took river four carry state once book hear stop
without second later miss idea enough eat face watch far really almost let above girl sometimes mountain cut young
talk soon list song being leave family body music color stand sun question fish area mark dog horse bird problem
complete room knew since ever piece told usually friend easy heard order red door sure become top ship across today
during short better best however low hour black product happen whole measure remember early wave reach listen wind
rock space cover fast several hold himself toward five step morning pass vowel true hundred against pattern slow
table north love person money serve appear road map rain rule govern pull cold notice voice fall power town fine fly
lead cry dark machine note wait plan figure box field rest able pound done beauty drive stood contain front teach
week final gave green quick develop ocean warm free minute strong special mind behind clear tail produce fact street
inch lot nothing course stay wheel full force blue object decide surface deep moon island foot yet busy test record
boat common gold possible plane age dry wonder laugh thousand ago ran check game shape yes hot brought heat snow bed
bring sit perhaps fill east weight language among beautiful cinematic realistic detailed dramatic peaceful colorful
bright quiet wide shot close-up style cat dog robot dragon castle forest lake beach garden flower rocket spaceship
train bridge lamp window winter summer spring autumn fire smoke fog mist storm thunder lightning rainbow""".split()


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def fits(kind, landscape):
    """Boats keep to the sea, cars to the land."""
    return {"boat": landscape == "sea", "car": landscape != "sea"}.get(kind, True)


def held_out(scene):
    """True for the combinations that no training clip shows: one in eight of the triples
    (kind, colour, landscape), and one in eight of (landscape, time, weather).

    A latin square, not chance: every kind and every colour is left out equally often, a pair
    of kind and colour in one landscape at most, and a clear day nowhere.  Where the landscape
    is open, nothing is held out: the renderer then avoids such combinations (see resolve).
    """
    if scene["landscape"] == OPEN:
        return False
    land = LANDSCAPES.index(scene["landscape"])
    cast = () if scene["actors"] == OPEN else scene["actors"]
    return ((2 * land + 3 * TIMES.index(scene["time"]) + WEATHERS.index(scene["weather"])) % 8 == 0
            or any((3 * KINDS.index(a["kind"]) + 5 * land + COLOURS.index(a["colour"])) % 8 == 0 for a in cast))


def resolve(scene, place, kind, colour):
    """The scene with what is OPEN decided by three numbers in [0, 1) of the composition code."""
    pick = lambda options, u: options[min(int(u * len(options)), len(options) - 1)]
    scene = dict(scene)
    if scene["actors"] == OPEN:
        kind = pick(KINDS, kind)
        able = [c for c in COLOURS if possible(dict(scene, actors=[dict(kind=kind, colour=c)]))]
        scene["actors"] = [dict(kind=kind, colour=pick(able, colour), motion=KIND_MOTIONS[kind][0], side=1)]
    if scene["landscape"] == OPEN:
        scene["landscape"] = pick(possible(scene), place)
    return scene


def possible(scene):
    """Landscapes in which training may show the scene."""
    return [x for x in LANDSCAPES if all(fits(a["kind"], x) for a in scene["actors"])
            and not held_out(dict(scene, landscape=x))]


def sample_actor(r, landscape):
    kinds = [k for k in KINDS if fits(k, landscape)]
    # The boat has one landscape only: it gets more of it.
    kind = r.choices(kinds, [4 if k == "boat" else 1 for k in kinds])[0]
    motions = KIND_MOTIONS[kind]
    said = r.random() < 0.75
    motion = r.choice(motions) if said else motions[0]
    sided = motion in ("roll", "drift")
    side_said = said and sided and r.random() < 0.5
    return dict(kind=kind, colour=r.choice(COLOURS), motion=motion, said=said,
                side=r.choice((-1, 1)) if side_said else 1, side_said=side_said)


def sample_scene(r, held=False):
    """Draw one scene: of those to train on, or with held=True of those held out.
    OPEN marks what the caption leaves to the noise."""
    while True:
        scene = any_scene(r)
        if held_out(scene) == held and (scene["actors"] == OPEN or scene["landscape"] != OPEN or possible(scene)):
            return scene


def any_scene(r):
    if r.random() < 0.04:  # the empty prompt
        return dict(landscape=OPEN, time="day", weather="clear", camera="still", actors=OPEN, said=set())
    landscape = r.choice(LANDSCAPES)
    count = r.choices((0, 1, 2), (0.06, 0.62, 0.32))[0]
    said = {name for name, p in (("place", 0.9), ("time", 0.6), ("weather", 0.6), ("camera", 0.5))
            if r.random() < p}
    if count == 0:
        said.add("place")
    actors = [sample_actor(r, landscape) for _ in range(count)]
    if "place" not in said:
        landscape = OPEN
    return dict(
        landscape=landscape,
        time=r.choice(TIMES) if "time" in said else "day",
        # What is hard to learn comes more often: what moves everything, and what is faint.
        weather=r.choices(WEATHERS, (2, 5, 2, 3))[0] if "weather" in said else "clear",
        camera=r.choices(CAMERAS, (2, 4, 4, 3))[0] if "camera" in said else "still",
        actors=actors, said=said)


def sample_test(r, held=True):
    """A scene of one thing whose caption says everything a classifier can ask: kind, colour,
    motion, landscape, time, weather, camera.  Held out, or with held=False trained on."""
    while True:
        landscape = r.choice(LANDSCAPES)
        kind = r.choice([k for k in KINDS if fits(k, landscape)])
        motion = r.choice(KIND_MOTIONS[kind])
        sided = motion in ("roll", "drift")
        actor = dict(kind=kind, colour=r.choice(COLOURS), motion=motion, said=True,
                     side=r.choice((-1, 1)) if sided else 1, side_said=sided)
        scene = dict(landscape=landscape, time=r.choice(TIMES), weather=r.choice(WEATHERS),
                     camera=r.choice(CAMERAS), actors=[actor], said={"place", "time", "weather", "camera"})
        if held_out(scene) == held:
            return scene


def actor_phrase(r, a):
    noun = f"{r.choice(WORDS[a['colour']])} {r.choice(WORDS[a['kind']])}"
    if not a["said"]:
        return article(noun)
    own = OWN_DRIFT.get(a["kind"]) if a["motion"] == "drift" else None
    motion = r.choice(own or MOTION_WORDS[a["motion"]])
    if a["side_said"]:
        motion += " " + r.choice(SIDES[a["side"]])
    if r.random() < 0.12 and motion.endswith("ing"):
        return f"{article(motion)} {noun}"
    return f"{article(noun)} {motion}"


def caption(r, scene):
    """One of the many ways to say `scene`."""
    if scene["actors"] == OPEN:
        return ""
    said, tail, extra = scene["said"], [], []
    place = r.choice(PLACES[scene["landscape"]]) if "place" in said else ""
    for name, short in (("time", WHEN), ("weather", SKY), ("camera", CAMERA)):
        if name in said:
            value = scene[name]
            if r.random() < (0.3 if name != "camera" else 0.6):
                extra.append(r.choice(SENTENCES[value]))
            elif name == "camera":
                tail.append(", " + r.choice(short[value]))
            else:
                tail.append(" " + r.choice(short[value]))
    if scene["actors"]:
        phrases = [actor_phrase(r, a) for a in scene["actors"]]
        text = r.choice(OPENINGS) + r.choice((" and ", " and ", " with ")).join(phrases)
        text += " " + place if place else ""
    else:
        text = r.choice(OPENINGS) + r.choice(PLACE_NOUNS[scene["landscape"]])
    commas = [t for t in tail if t.startswith(",")]
    tail = [t for t in tail if not t.startswith(",")]
    r.shuffle(tail)
    text += "".join(tail + commas)
    r.shuffle(extra)
    style = r.random()
    if extra or style < 0.5:
        text = text[0].upper() + text[1:]
    if extra:
        text = " ".join([text + "."] + extra)
    elif style < 0.25:
        text += "."
    return text.lower() if r.random() < 0.15 else text


def corpus(seed, count):
    """Text for the tokenizer: captions, and common words alone for robustness."""
    r = random.Random(seed)
    lines = []
    for _ in range(count):
        lines.append(caption(r, sample_scene(r)) or "video")
        if r.random() < 0.3:
            lines.append(" ".join(r.choices(COMMON_WORDS, k=8)))
    return lines


if __name__ == "__main__":
    rng = random.Random(1)
    for _ in range(30):
        print(caption(rng, sample_scene(rng)))
