"""RTP and RTCP bookkeeping: packets, reports, jitter buffer, concealment, telephone-events, H.264 payloads.

Everything here is a pure function of its arguments: no socket, clock, thread or randomness. Times are seconds
(float) of one monotonic clock that the caller chooses; audio is signed 16-bit little-endian mono.
"""
