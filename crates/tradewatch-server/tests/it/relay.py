"""A mail relay on Debian's aiosmtpd that behaves as the receivers' names say.

Prints its port, then one JSON line for each mail that it takes. Arguments: certificate and key, and
"starttls", "implicit" or "plain". The user monitor has the password s3cr3t-t0ken.
"""
import asyncio, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

seen = {}

def times(what):
    seen[what] = seen.get(what, 0) + 1
    return seen[what]

class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("grey") and times(address) == 1:
            return "451 4.7.1 Greylisted, try again later"
        if address.startswith("bad"):
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        first = envelope.rcpt_tos[0]
        if first.startswith("busy") and times(first) == 1:
            return "421 4.3.2 Too busy"
        if first.startswith("silent") and times(first) == 1:
            await asyncio.sleep(30)
        if first.startswith("reset") and times(first) == 1:
            server.transport.abort()
            return "250 never seen"
        if first.startswith("spam"):
            return "554 5.7.1 Refused as spam"
        print(json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None or sys.argv[3] == "implicit",
                          "authenticated": session.authenticated, "hello": session.host_name,
                          "content": envelope.content.decode("utf-8", "replace")}), flush=True)
        return "250 2.0.0 taken"

def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and data.login == b"monitor" and data.password == b"s3cr3t-t0ken"
    return AuthResult(success=good, handled=good or False)

async def main(cert, key, mode):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    starttls = mode == "starttls"
    make = lambda: SMTP(Handler(), hostname="relay.example", tls_context=context if starttls else None,
                        require_starttls=starttls, auth_required=mode != "plain", authenticator=authenticate,
                        auth_require_tls=starttls)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "127.0.0.1", 0, ssl=context if mode == "implicit" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # Until whoever started it has gone.
    server.close()

asyncio.run(main(*sys.argv[1:]))
