"""Kamailio as a building's PBX: registrar with digest, proxy with parallel forking, no database.

UDP and TCP; with a certificate TLS too, and secure WebSockets (RFC 7118) on the same port.
"""

import signal
from collections.abc import Mapping
from pathlib import Path

from tests.support.certificates import Certificate
from tests.support.processes import Program
from tests.support.sip_probe import answers_options
from tests.support.waiting import wait_until

DOMAIN = "door.test"

_CONFIGURATION = """\
#!KAMAILIO
debug=2
log_stderror=yes
children=2
tcp_children=2
auto_aliases=no
alias={domain}
{listens}
server_header="Server: pbx"
user_agent_header="User-Agent: pbx"
tcp_connection_lifetime=3600
tcp_accept_no_cl=yes

loadmodule "kex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "htable.so"
loadmodule "nathelper.so"
loadmodule "auth.so"
{secure_modules}

modparam("tm", "fr_timer", 10000)
modparam("tm", "fr_inv_timer", 90000)
modparam("rr", "enable_full_lr", 1)
modparam("usrloc", "db_mode", 0)
modparam("registrar", "min_expires", 5)
modparam("registrar", "max_expires", 3600)
modparam("registrar", "received_avp", "$avp(RECEIVED)")
modparam("nathelper", "received_avp", "$avp(RECEIVED)")
modparam("auth", "algorithm", "{algorithm}")
modparam("auth", "qop", "auth")
modparam("auth", "nonce_count", 1)
modparam("auth", "nonce_expire", {nonce_expire})
modparam("htable", "htable", "users=>size=6")

event_route[htable:mod-init] {{
{users}
}}

request_route {{
    xlog("L_WARN", "got $rm $ru from $si:$sp over $proto ($cs $ci)\\n");
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("OPTIONS") && uri==myself && $rU != $null && !($sht(users=>$rU) != $null)) {{
        sl_send_reply("200", "Here"); exit;
    }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
    if (has_totag()) {{
        if (loose_route()) {{
            # A phone's Contact may be the GRUU we gave it: find the phone behind it.
            handle_ruri_alias();
            if (uri==myself && is_gruu() && !lookup("location")) {{ sl_send_reply("404", "Gone"); exit; }}
            t_relay(); exit;
        }}
        if (is_method("ACK")) {{ if (t_check_trans()) t_relay(); exit; }}
        sl_send_reply("404", "Not here"); exit;
    }}
    t_check_trans();
    force_rport();
    # Who came by a connection of its own is found by it, not at the address of its Contact.
    if ($proto =~ "^(tls|ws)" && is_method("INVITE|SUBSCRIBE")) add_contact_alias();
    if (is_method("REGISTER")) {{
        if ($sht(users=>$au) == $null
                || !pv_www_authenticate("$td", "$sht(users=>$au)", "0")) {{
            www_challenge("$td", "1"); exit;
        }}
        if ($au != $tU) {{ sl_send_reply("403", "Not yours"); exit; }}
        fix_nated_register();
        if (!save("location")) sl_reply_error();
        exit;
    }}
    if (is_method("INVITE") && !has_totag()) {{
        if ($sht(users=>$au) == $null
                || !pv_proxy_authenticate("$fd", "$sht(users=>$au)", "0")) {{
            proxy_challenge("$fd", "1"); exit;
        }}
        consume_credentials();
    }}
    if (is_method("INVITE|SUBSCRIBE")) record_route();
    if (uri!=myself) {{ t_relay(); exit; }}
    if (!lookup("location")) {{
        if ($sht(users=>$rU) != $null) sl_send_reply("480", "Temporarily Unavailable");
        else sl_send_reply("404", "Not Found");
        exit;
    }}
    # UTF-8 safe, stateful, to every registered contact at once
    if (!t_relay()) sl_reply_error();
}}

onreply_route {{
    xlog("L_WARN", "got $rs $rr for $rm from $si:$sp ($cs $ci)\\n");
    if ($proto =~ "^(tls|ws)" && is_method("INVITE|SUBSCRIBE")) add_contact_alias();
}}
{secure_routes}
"""

_OUTBOUND_MODULES = """\
loadmodule "stun.so"
loadmodule "path.so"
loadmodule "outbound.so"
modparam("outbound", "flow_token_secret", "a key of twenty bytes")
modparam("registrar", "outbound_mode", 1)
modparam("registrar", "use_path", 1)
"""

_SECURE_MODULES = """\
enable_tls=yes
loadmodule "tls.so"
loadmodule "xhttp.so"
loadmodule "websocket.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "certificate", "{certificate}")
modparam("tls", "private_key", "{key}")
"""

_SECURE_ROUTES = """
event_route[xhttp:request] {
    set_reply_close();
    set_reply_no_connect();
    if ($hdr(Upgrade) =~ "websocket" && $hdr(Sec-WebSocket-Protocol) =~ "sip" && ws_handle_handshake()) exit;
    xhttp_reply("404", "Not Found", "", "");
}
"""


class Kamailio:
    """`users` maps a user part to its password; everybody's domain is `DOMAIN`."""

    def __init__(
        self,
        folder: Path,
        port: int,
        users: Mapping[str, str],
        *,
        hosts: tuple[str, ...] = ("127.0.0.1",),
        algorithm: str = "MD5",
        nonce_expire_s: int = 300,
        certificate: Certificate | None = None,
        outbound: bool = False,
    ) -> None:
        """`port` is for UDP and TCP; the one above it for TLS and WSS, if there is a `certificate`. With `outbound`
        it speaks RFC 5626: flows of clients, and STUN on its UDP port."""
        self.port = port
        self.hosts = hosts
        self.users = dict(users)
        listens = []
        for host in hosts:
            shown = f"[{host}]" if ":" in host else host
            listens += [f"listen=udp:{shown}:{port}", f"listen=tcp:{shown}:{port}"]
            if certificate is not None:
                listens.append(f"listen=tls:{shown}:{port + 1}")
        folder.mkdir(parents=True, exist_ok=True)
        secure_modules = _OUTBOUND_MODULES if outbound else ""
        if certificate is not None:
            secure_modules += _SECURE_MODULES.format(
                certificate=certificate.certificate_file, key=certificate.key_file
            )
        configuration = folder / "kamailio.cfg"
        configuration.write_text(
            _CONFIGURATION.format(
                domain=DOMAIN,
                listens="\n".join(listens),
                algorithm="" if algorithm == "MD5" else algorithm,
                nonce_expire=nonce_expire_s,
                secure_modules=secure_modules,
                secure_routes=_SECURE_ROUTES if certificate is not None else "",
                users="\n".join(f'    $sht(users=>{user}) = "{password}";' for user, password in users.items()),
            )
        )
        command = ["kamailio", "-f", str(configuration), "-DD", "-E", "-m", "64", "-M", "8", "-Y", str(folder)]
        self.program = Program("kamailio", command, folder)

    @property
    def uri(self) -> str:
        """Where the server is, as a SIP URI."""
        host = self.hosts[0]
        return f"sip:[{host}]:{self.port}" if ":" in host else f"sip:{host}:{self.port}"

    def over(self, transport: str) -> str:
        """Where it is by this transport."""
        host = f"[{self.hosts[0]}]" if ":" in self.hosts[0] else self.hosts[0]
        port = self.port + 1 if transport in ("tls", "wss") else self.port
        return f"sip:{host}:{port};transport={transport}"

    def start(self) -> None:
        self.program.start()
        wait_until(lambda: not self.program.alive or answers_options(self.hosts[0], self.port), "Kamailio answers")
        assert self.program.alive, f"Kamailio ended at once:\n{self.program.log_text()}"

    def stop(self) -> None:
        """Stop; bindings are lost, as with a server's restart."""
        if self.program.alive:
            self.program.signal(signal.SIGTERM)
            wait_until(lambda: not self.program.alive, "Kamailio ends")
        self.program.kill()

    def requests(self, method: str) -> list[str]:
        """Log lines of the requests of `method` that reached the server."""
        return [line for line in self.program.log_text().splitlines() if f" got {method} " in line]
