"""A bench's parts that labgrid has none for: a dry contact at a Modbus input, watched."""

import contextlib
import threading
import time
from typing import Any

import attr
from labgrid.driver import Driver
from labgrid.factory import target_factory
from labgrid.resource import Resource

from hil.roles import LineSenseProtocol, Trace

POLL_S = 0.004  # a module answers in 2 to 5 ms: what is told of a pulse is right to about 10 ms


@target_factory.reg_resource
@attr.s(eq=False)
class ModbusTCPInput(Resource):
    """Discrete input `input` of the Modbus TCP module at `host` ("192.168.23.42:502"). `invert`: open is active."""

    host = attr.ib(validator=attr.validators.instance_of(str))
    input = attr.ib(validator=attr.validators.instance_of(int))
    invert = attr.ib(default=False, validator=attr.validators.instance_of(bool))


@target_factory.reg_driver
@attr.s(eq=False)
class ModbusContact(Driver, LineSenseProtocol):
    """Reads the input all the time it is active."""

    bindings = {"contact": ModbusTCPInput}  # noqa: RUF012  labgrid reads it from the class

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.trace = Trace()

    def on_activate(self) -> None:
        from pyModbusTCP.client import ModbusClient  # only a bench has it

        host, _, port = self.contact.host.partition(":")
        self._client: Any = ModbusClient(host=host, port=int(port or 502), auto_open=True, timeout=2)
        self._asking = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="contact", daemon=True)
        self.get()  # a module that does not answer is said now
        self._thread.start()

    def on_deactivate(self) -> None:
        self._stopping.set()
        self._thread.join(5)
        self._client.close()

    def get(self) -> bool:
        """OSError where the module does not answer."""
        with self._asking:
            values = self._client.read_discrete_inputs(self.contact.input)
        if not values:
            why = self._client.last_error_as_txt
            raise OSError(f"{self.contact.host}: input {self.contact.input} cannot be read: {why}")
        closed = bool(values[0]) != self.contact.invert
        self.trace.note(closed, time.monotonic())
        return closed

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_S):
            with contextlib.suppress(OSError):
                self.get()
