"""How a call sounds, as one number: the E-model of ITU-T G.107 with everything but loss and delay at its defaults.

R = 93.2 - Id - Ie,eff (G.107 section 7.7 with the defaults of its table 2). Id is what delay alone does, in Cole
and Rosenbluth's fit of the model's curve; Ie,eff is what loss does to a codec (section 7.2 with BurstR = 1). The
scale is the telephone's: a wideband codec's advantage (G.107.1) is left out, so numbers of any two calls may be
compared.
"""

_R0 = 93.2
_ENOUGH_DELAY_MS = 177.3
# Ie and Bpl, ITU-T G.113 appendix I: G.711 with the concealment of its appendix I. G.722 is concealed the same way
# here. For Opus there is no ITU figure; its concealment is at least as good.
_IE, _BPL = 0.0, 25.1


def mos(concealed_share: float, delay_ms: float) -> float:
    """Mean opinion score, 1.0 to 4.4, of a listener: `concealed_share` of the sound was missing, 0 to 1, and the
    way from mouth to ear takes `delay_ms`."""
    lost_percent = 100 * min(1.0, max(0.0, concealed_share))
    impairment = _IE + (95 - _IE) * lost_percent / (lost_percent + _BPL)
    delay_ms = max(0.0, delay_ms)
    delayed = 0.024 * delay_ms + 0.11 * max(0.0, delay_ms - _ENOUGH_DELAY_MS)
    r = _R0 - delayed - impairment
    if r <= 0:
        return 1.0
    return min(4.5, max(1.0, 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r)))
