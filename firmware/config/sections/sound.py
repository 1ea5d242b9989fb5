"""Sound and picture: [media], [audio], [announcements]."""

from typing import Annotated, Literal

from msgspec import Meta

from firmware.config import forms
from firmware.config.sections.base import Section, SoundCodec, says

How = Literal["spoken", "tone", "off"]


class MediaSection(Section, frozen=True, kw_only=True):
    """Sound and picture."""

    ports: Annotated[
        tuple[int, int] | None,
        says(
            "First and last UDP port of RTP, where a firewall wants a range; left out: any free ones.",
            [16384, 16583],
        ),
    ] = None
    audio_codecs: Annotated[
        tuple[SoundCodec, ...],
        says(
            "Sound codecs offered, the preferred one first. opus and G722 carry twice the band of a telephone; "
            "opus copes best with a bad network and costs the most CPU. L16 is for laboratories.",
            ["opus", "G722", "PCMA", "PCMU"],
        ),
    ] = ("opus", "G722", "PCMA", "PCMU")
    video: Annotated[bool, says("Offer the camera's picture.")] = True
    srtp: Annotated[
        Literal["off", "optional", "mandatory", "dtls"],
        says(
            "Encryption of sound and picture (SRTP with keys in the signalling). `optional` takes it wherever it "
            "is offered, and offers it where the signalling is encrypted (TLS, WSS): a key that can be read on "
            "the way protects nothing. `mandatory` has no call without it, `off` none with it. `dtls` is mandatory "
            "too, with keys that the two ends make between themselves, as browsers do: calls to browsers that are "
            "users of the house have that anyway."
        ),
    ] = "optional"
    ice: Annotated[
        bool,
        says(
            "Look for a way to the phone through NATs (RFC 8445), with the servers of `[nat]`: for apps outside of "
            "the house's network. Calls to browsers do that anyway."
        ),
    ] = False


class Audio(Section, frozen=True, kw_only=True):
    """Loudness and hands-free talk at the door, for boards whose sound card hears its own speaker."""

    canceller: Annotated[
        Literal["webrtc", "speex", "none"] | None,
        says("Echo canceller; left out: the board's. `speex` costs half.", "speex"),
    ] = None
    noise_suppression: Annotated[
        int, Meta(ge=0, le=3), says("The street's noise is taken out by 6, 12, 18 or 21 dB.")
    ] = 1
    speaker_db: Annotated[float, Meta(ge=-40, le=20), says("The speaker louder or quieter, in dB.", -6)] = 0
    noise_boost_db: Annotated[
        float, Meta(ge=0, le=20), says("By so many dB at most the speaker grows louder in street noise.")
    ] = 6
    night_from: Annotated[str, forms.TIME_OF_DAY, says("When the night begins, by the station's clock.")] = "22:00"
    night_until: Annotated[
        str, forms.TIME_OF_DAY, says("When it ends; the same time as `night_from`: never night.")
    ] = "07:00"
    night_most_db: Annotated[
        float,
        Meta(ge=-40, le=20),
        says("At night the speaker is never louder, whatever the street's noise."),
    ] = 0
    microphone_db: Annotated[float, Meta(ge=-20, le=30), says("The microphone louder or quieter, in dB.", 6)] = 0
    half_duplex: Annotated[
        Literal["auto", "always", "never"],
        says(
            "Shut the microphone while the other side talks. `auto`: where the echo is measured to be too strong "
            "for anything else."
        ),
    ] = "auto"


class Announcements(Section, frozen=True, kw_only=True):
    """What the door says, to the visitor and to who talks with him. `tools/announcements` makes recordings; without
    one, a tone of `station.country` sounds. Of each: "spoken" (a tone where nothing is recorded), "tone", "off"."""

    folder: Annotated[
        str | None,
        forms.ABSOLUTE_PATH,
        says(
            "Folder of the recordings, WAV files such as `es/no-answer.wav`. Left out: tones only.",
            "/var/lib/portero/announcements",
        ),
    ] = None
    languages: Annotated[
        tuple[Annotated[str, forms.NAME], ...],
        says(
            "Languages, the preferred one first: what is not recorded in one is taken from the next, at last from "
            "the folder itself.",
            ["es", "en"],
        ),
    ] = ("en",)
    no_answer: Annotated[How, says("To the visitor: nobody answered.")] = "spoken"
    busy: Annotated[How, says("To the visitor: who was called is busy, or declined.")] = "spoken"
    unreachable: Annotated[How, says("To the visitor: no phone could be reached.")] = "spoken"
    out_of_order: Annotated[
        How,
        says("To the visitor: the button rings nobody, or the call was cut off. To who opens: the lock failed."),
    ] = "spoken"
    door_opened: Annotated[How, says("To both: the door is open.")] = "spoken"
    wrong_code: Annotated[How, says("To who typed it: the code opens nothing.")] = "spoken"
    call_ended: Annotated[How, says("To the visitor: the call is over. Only spoken, there is no tone.")] = "spoken"
    please_wait: Annotated[How, says("To the visitor: he is being handed on; then it rings on.")] = "spoken"
    in_use: Annotated[
        How,
        says(
            "To a caller who may call, while the door is in use: as sound before the refusal. Only spoken; without "
            "a recording he is refused at once and his own phone gives the busy tone."
        ),
    ] = "spoken"

    @property
    def how(self) -> dict[str, How]:
        """By the names of the recordings."""
        keys = (name for name in self.__struct_fields__ if name not in ("folder", "languages"))
        return {name.replace("_", "-"): getattr(self, name) for name in keys}
