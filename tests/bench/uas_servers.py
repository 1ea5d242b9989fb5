"""User agent servers for sipp to call, each in a process of its own: `python -m tests.bench.uas_servers NAME PORT`.

`portero` is the station's endpoint with a listener that answers all calls at once; `sippy` is the same on sippy's
transaction manager and user agent. Neither logs nor has media.
"""

import asyncio
import random
import sys

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"


def portero(port: int) -> None:
    from firmware.net.sip_endpoint import SipEndpoint
    from firmware.sip.configuration import Configuration
    from firmware.sip.core import Core
    from firmware.sip.events import Event, IncomingCall

    # A station's bounds are for a door; here they would be all that is measured.
    core = Core(Configuration(max_transactions=10**6, max_calls=10**6), random=random.Random(1).randbytes)

    def answer(event: Event) -> None:
        if isinstance(event, IncomingCall):
            endpoint.accept(event.call, SDP)

    endpoint = SipEndpoint(core, listen=[("127.0.0.1", port)], on_event=answer)

    async def serve() -> None:
        await endpoint.start()
        await asyncio.Event().wait()

    asyncio.run(serve())


def sippy(port: int) -> None:
    from sippy.CCEvents import CCEventConnect, CCEventTry
    from sippy.Core.EventDispatcher import ED2
    from sippy.MsgBody import MsgBody
    from sippy.SipConf import SipConf
    from sippy.SipTransactionManager import SipTransactionManager
    from sippy.UA import UA

    class Silent:
        def write(self, *_: object, **__: object) -> None:
            pass

    SipConf.my_uaname = "sippy"
    settings = {"_sip_address": "127.0.0.1", "_sip_port": port, "_sip_logger": Silent()}

    def told(event: object, agent: object) -> None:
        if isinstance(event, CCEventTry):
            agent.recvEvent(CCEventConnect((200, "OK", MsgBody(SDP.decode()))))  # type: ignore[attr-defined]

    def received(request: object, transaction: object) -> object:
        if request.getHFBody("to").getTag() is not None:  # type: ignore[attr-defined]
            return (request.genResponse(481, "No"), None, None)  # type: ignore[attr-defined]
        if request.getMethod() == "INVITE":  # type: ignore[attr-defined]
            return UA(settings, told).recvRequest(request, transaction)
        return (request.genResponse(200, "OK"), None, None)  # type: ignore[attr-defined]

    settings["_sip_tm"] = SipTransactionManager(settings, received)
    ED2.loop()


if __name__ == "__main__":
    {"portero": portero, "sippy": sippy}[sys.argv[1]](int(sys.argv[2]))
