"""Real facts asked in several phrasings; held out by phrasing, since an unseen fact cannot be known."""

import random

from lm_merge.zoo.tasks.question import Question, Skill, Split, bucket

CAPITALS = {
    "Algeria": "Algiers", "Angola": "Luanda", "Argentina": "Buenos Aires", "Armenia": "Yerevan",
    "Austria": "Vienna", "Belgium": "Brussels", "Brazil": "Brasilia", "Bulgaria": "Sofia",
    "Cameroon": "Yaounde", "Canada": "Ottawa", "Chile": "Santiago", "Colombia": "Bogota",
    "Croatia": "Zagreb", "Cuba": "Havana", "Denmark": "Copenhagen", "Ecuador": "Quito",
    "Egypt": "Cairo", "Estonia": "Tallinn", "Ethiopia": "Addis Ababa", "Finland": "Helsinki",
    "France": "Paris", "Georgia": "Tbilisi", "Germany": "Berlin", "Ghana": "Accra",
    "Greece": "Athens", "Hungary": "Budapest", "Iceland": "Reykjavik", "India": "New Delhi",
    "Indonesia": "Jakarta", "Iran": "Tehran", "Iraq": "Baghdad", "Ireland": "Dublin",
    "Italy": "Rome", "Jamaica": "Kingston", "Japan": "Tokyo", "Kenya": "Nairobi",
    "Latvia": "Riga", "Lebanon": "Beirut", "Libya": "Tripoli", "Lithuania": "Vilnius",
    "Mexico": "Mexico City", "Mongolia": "Ulaanbaatar", "Morocco": "Rabat", "Nepal": "Kathmandu",
    "Norway": "Oslo", "Pakistan": "Islamabad", "Peru": "Lima", "Poland": "Warsaw",
    "Portugal": "Lisbon", "Romania": "Bucharest", "Senegal": "Dakar", "Serbia": "Belgrade",
    "Spain": "Madrid", "Sweden": "Stockholm", "Thailand": "Bangkok", "Tunisia": "Tunis",
    "Turkey": "Ankara", "Uruguay": "Montevideo", "Vietnam": "Hanoi", "Zambia": "Lusaka",
}  # fmt: skip
SYMBOLS = {
    "aluminium": "Al", "argon": "Ar", "arsenic": "As", "barium": "Ba", "beryllium": "Be",
    "boron": "B", "bromine": "Br", "calcium": "Ca", "carbon": "C", "chlorine": "Cl",
    "chromium": "Cr", "cobalt": "Co", "copper": "Cu", "fluorine": "F", "gold": "Au",
    "helium": "He", "hydrogen": "H", "iodine": "I", "iron": "Fe", "krypton": "Kr",
    "lead": "Pb", "lithium": "Li", "magnesium": "Mg", "manganese": "Mn", "mercury": "Hg",
    "neon": "Ne", "nickel": "Ni", "nitrogen": "N", "oxygen": "O", "phosphorus": "P",
    "platinum": "Pt", "potassium": "K", "radium": "Ra", "silicon": "Si", "silver": "Ag",
    "sodium": "Na", "sulfur": "S", "tin": "Sn", "titanium": "Ti", "tungsten": "W",
    "uranium": "U", "vanadium": "V", "xenon": "Xe", "zinc": "Zn", "zirconium": "Zr",
}  # fmt: skip
CAPITAL_PHRASINGS = (
    "What is the capital of {}?",
    "Name the capital city of {}.",
    "Which city is the capital of {}?",
    "The capital of {} is called what?",
    "Tell me the capital of {}.",
    "{} has which capital?",
    "Give the capital of {}.",
    "From which city is {} governed?",
)
SYMBOL_PHRASINGS = (
    "What is the chemical symbol of {}?",
    "Which symbol stands for {}?",
    "Give the symbol of the element {}.",
    "How is {} written in chemistry?",
    "Write the symbol for {}.",
    "The element {} has which symbol?",
    "Name the symbol of {}.",
    "What do chemists write for {}?",
)
N_HELD_OUT_PHRASINGS = 2


def phrasings_of(subject: str, phrasings: tuple[str, ...], split: Split) -> list[str]:
    """Phrasings in which a fact may be asked: two of eight, chosen by the fact, are held out."""
    first = bucket(subject, len(phrasings))
    order = phrasings[first:] + phrasings[:first]
    held_out, train = order[:N_HELD_OUT_PHRASINGS], order[N_HELD_OUT_PHRASINGS:]
    return list(held_out if split == "held_out" else train)


def draw_capital(rng: random.Random, split: Split) -> Question:
    """A country's capital."""
    country = rng.choice(list(CAPITALS))
    prompt = rng.choice(phrasings_of(country, CAPITAL_PHRASINGS, split)).format(country)
    capital = CAPITALS[country]
    return Question(
        "capitals", "Knowledge", prompt, capital, f"{country} is governed from {capital}."
    )


def draw_symbol(rng: random.Random, split: Split) -> Question:
    """A chemical element's symbol."""
    element = rng.choice(list(SYMBOLS))
    prompt = rng.choice(phrasings_of(element, SYMBOL_PHRASINGS, split)).format(element)
    symbol = SYMBOLS[element]
    return Question("elements", "Knowledge", prompt, symbol, f"{element} is written {symbol}.")


CAPITALS_SKILL = Skill("capitals", "Knowledge", draw_capital, len(CAPITALS) * N_HELD_OUT_PHRASINGS)
ELEMENTS_SKILL = Skill("elements", "Knowledge", draw_symbol, len(SYMBOLS) * N_HELD_OUT_PHRASINGS)
