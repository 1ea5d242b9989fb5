"""Speech for tests, by espeak-ng: eight languages, high and low voices, fast and slow, as a telephone carries it.

Free of anybody's copyright, and reproducible: the same seed gives the same speech on one version of espeak-ng.
"""

import audioop
import io
import random
import shutil
import subprocess
import wave
from collections.abc import Iterator

RATE_HZ = 8000

# Article 1 of the Universal Declaration of Human Rights.
SENTENCES = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with reason and "
    "conscience and should act towards one another in a spirit of brotherhood.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y "
    "conciencia, deben comportarse fraternalmente los unos con los otros.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen "
    "begabt und sollen einander im Geiste der Brüderlichkeit begegnen.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "it": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione e di "
    "coscienza e devono agire gli uni verso gli altri in spirito di fratellanza.",
    "pt": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de razão e de "
    "consciência, devem agir uns para com os outros em espírito de fraternidade.",
    "nl": "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn begiftigd met verstand en "
    "geweten, en behoren zich jegens elkander in een geest van broederschap te gedragen.",
    "pl": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni "
    "rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa.",
}
VOICES = ("", *(f"+f{n}" for n in range(1, 6)), *(f"+m{n}" for n in range(1, 8)), "+croak", "+whisper")


def missing() -> str:
    """What has to be installed before there is speech; empty: nothing."""
    return "" if shutil.which("espeak-ng") else "espeak-ng is not installed (make setup installs it)"


def speech(seconds: float, seed: int = 1) -> Iterator[bytes]:
    """Utterances of some seconds, S16LE at 8 kHz, from quiet to near the clipping, together at least `seconds`."""
    source = random.Random(seed)
    left = seconds * RATE_HZ * 2
    languages = list(SENTENCES)
    turn = 0
    while left > 0:
        language = languages[turn % len(languages)]
        turn += 1
        numbers = " ".join(str(source.randrange(10 ** source.randint(1, 9))) for _ in range(25))
        said = spoken(
            f"{SENTENCES[language]} {numbers}.",
            language + source.choice(VOICES),
            pitch=source.randrange(0, 100),
            words_a_minute=source.randrange(100, 300),
        )
        said = audioop.mul(said, 2, 10 ** (source.uniform(-24, 3) / 20))
        left -= len(said)
        yield audioop.alaw2lin(audioop.lin2alaw(said, 2), 2)


def spoken(text: str, voice: str, *, pitch: int = 50, words_a_minute: int = 160) -> bytes:
    command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(words_a_minute), "--stdout"]
    done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=60, check=True)
    # espeak writes a header that promises more than it has: a pipe cannot be wound back.
    with wave.open(io.BytesIO(done.stdout)) as file:
        pcm = file.readframes(file.getnframes())
        pcm, _ = audioop.ratecv(pcm, 2, 1, file.getframerate(), RATE_HZ, None)
    return pcm
