"""fake.py: a stand-in for AWS on a loopback port: EventBridge, STS, the container's and the instance's
metadata. It checks every signature by botocore, counts what it takes, and misbehaves when told to."""
import datetime
import email.utils
import http.server
import json
import re
import threading
import time
import urllib.parse
import uuid

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ENTRIES_MAX = 10
CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, "
                        r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$")


class Refused(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def iso(seconds_from_now):
    when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds_from_now)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


class Fake:
    """`keys`: access key to (secret, token or None). `script`: what the next calls of PutEvents meet, in turn:
    ok, throttle, fault, partial, slow, skew, expired, denied, garbage, short, close."""

    def __init__(self):
        self.keys = {"AKIAIOSFODNN7EXAMPLE": ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None)}
        self.script, self.events, self.calls, self.problems = [], [], [], []
        self.clock_s = 0      # how far this server's clock is ahead
        self.life_s = 3600    # of credentials that it gives
        self.v2_only, self.role, self.container_token = True, "weir-role", None
        self.lock = threading.Lock()
        self.made = 0
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_any(self):
                fake.serve(self)
            do_GET = do_POST = do_PUT = handle_any

            def date_time_string(self, timestamp=None):
                return email.utils.formatdate(time.time() + fake.clock_s, usegmt=True)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    # ---- signatures ----

    def signer(self, h, body):
        """(access key, region, service) of a request that is signed rightly."""
        found = CREDENTIAL.match(h.headers.get("authorization", ""))
        if not found:
            raise Refused(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        key, _, region, service, names, signature = found.groups()
        if key not in self.keys:
            raise Refused(403, "UnrecognizedClientException", "The security token included in the request is invalid.")
        secret, token = self.keys[key]
        date = h.headers["x-amz-date"]
        then = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()
        if abs(then - time.time() - self.clock_s) > 300:
            raise Refused(403, "InvalidSignatureException", f"Signature expired: {date} is now earlier than ...")
        if h.headers.get("x-amz-security-token") != token:
            raise Refused(403, "UnrecognizedClientException", "The security token included in the request is invalid.")
        signed = names.split(";")
        for must in ("host", "x-amz-date", *(["x-amz-security-token"] if token else [])):
            if must not in signed:
                raise Refused(403, "IncompleteSignatureException", must + " is not signed")
        request = AWSRequest(h.command, f"http://{h.headers['host']}{h.path}", {n: h.headers[n] for n in signed}, body)
        request.context["timestamp"] = date
        auth = SigV4Auth(Credentials(key, secret, token), service, region)
        wanted = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        if wanted != signature:
            raise Refused(403, "InvalidSignatureException", "The request signature we calculated does not match")
        return key, region, service

    # ---- answers ----

    def answer(self, h, status, body, kind="application/x-amz-json-1.1", **headers):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        h.send_response(status)
        h.send_header("Content-Type", kind)
        h.send_header("Content-Length", str(len(data)))
        h.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        for name, value in headers.items():
            h.send_header(name.replace("_", "-"), value)
        h.end_headers()
        h.wfile.write(data)

    def serve(self, h):
        body = h.rfile.read(int(h.headers.get("content-length") or 0))
        target = h.headers.get("x-amz-target", "")
        with self.lock:
            self.calls.append((h.command, h.path, target or body.decode(errors="replace")[:200]))
        try:
            if target:
                self.events_call(h, target, body)
            elif h.path.startswith("/latest/"):
                self.instance(h)
            elif h.path.startswith("/container"):
                self.container(h)
            else:
                self.sts(h, dict(urllib.parse.parse_qsl(body.decode())), body)
        except Refused as e:
            if target:
                self.answer(h, 400 if e.status == 403 else e.status,
                            {"__type": "com.amazon.coral.service#" + e.code, "message": e.message})
            else:
                self.answer(h, e.status, f"<ErrorResponse><Error><Type>Sender</Type><Code>{e.code}</Code>"
                                         f"<Message>{e.message}</Message></Error></ErrorResponse>", "text/xml")

    def new_keys(self):
        with self.lock:
            self.made += 1
            key, secret, token = f"ASIAFAKEFAKEFAKE{self.made:04}", f"secret{self.made}/+x", f"token{self.made}//=="
            self.keys[key] = (secret, token)
        return key, secret, token

    # ---- EventBridge ----

    def events_call(self, h, target, body):
        with self.lock:
            how = self.script.pop(0) if self.script else "ok"
        if how == "skew":
            self.clock_s = 3600
        if how == "close":
            h.close_connection = True
            h.connection.close()
            return
        _, region, service = self.signer(h, body)
        if (target, service) != ("AWSEvents.PutEvents", "events"):
            raise Refused(400, "UnknownOperationException", target)
        if how == "slow":
            time.sleep(0.4)
        for name, status, code in (("throttle", 400, "ThrottlingException"), ("fault", 500, "InternalException"),
                                   ("expired", 400, "ExpiredTokenException"), ("denied", 400, "AccessDeniedException")):
            if how == name:
                raise Refused(status, code, "told to")
        if how == "garbage":
            self.answer(h, 200, "<html>nobody is here</html>", "text/html")
            return
        self.put_events(h, json.loads(body)["Entries"], how, region)

    def put_events(self, h, entries, how, region):
        size, failed, answers = 0, 0, []
        if not 1 <= len(entries) <= ENTRIES_MAX:
            raise Refused(400, "ValidationException", "Member must have length less than or equal to 10")
        for e in entries:
            size += 14 * ("Time" in e) + sum(len(e.get(k, "").encode()) for k in ("Source", "DetailType", "Detail")) + \
                sum(len(r.encode()) for r in e.get("Resources", []))
        if size >= 1048576:
            raise Refused(400, "ValidationException", "Total size of the entries in the request is over the limit.")
        for i, e in enumerate(entries):
            detail = json.loads(e["Detail"])
            if how == "partial" and i % 2:
                answers.append({"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"})
            elif detail.get("bad"):
                answers.append({"ErrorCode": "NotAuthorizedForSourceException", "ErrorMessage": "Not authorized for the source."})
            else:
                answers.append({"EventId": str(uuid.uuid4())})
                with self.lock:
                    self.events.append({**e, "Detail": detail, "region": region, "host": h.headers["host"]})
                continue
            failed += 1
        if how == "short":
            answers.pop()
        self.answer(h, 200, {"FailedEntryCount": failed, "Entries": answers})

    # ---- STS ----

    def sts(self, h, form, body):
        action = form.get("Action")
        if action == "AssumeRoleWithWebIdentity":
            if form.get("WebIdentityToken") != "web.identity.token":
                raise Refused(400, "InvalidIdentityToken", "No OpenIDConnect provider found")
        elif self.signer(h, body)[2] != "sts":
            raise Refused(403, "SignatureDoesNotMatch", "scope")
        if action == "GetCallerIdentity":
            result = "<Arn>arn:aws:iam::123456789012:user/weir</Arn><UserId>AIDA</UserId><Account>123456789012</Account>"
        elif action in ("AssumeRole", "AssumeRoleWithWebIdentity"):
            if form["RoleArn"].endswith("/forbidden"):
                raise Refused(403, "AccessDenied", "User is not authorized to perform: sts:AssumeRole")
            key, secret, token = self.new_keys()
            result = f"<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>" \
                     f"<SessionToken>{token}</SessionToken><Expiration>{iso(self.life_s)}</Expiration></Credentials>"
        else:
            raise Refused(400, "InvalidAction", str(action))
        self.answer(h, 200, f"<{action}Response><{action}Result>{result}</{action}Result></{action}Response>", "text/xml")

    # ---- the place ----

    def give_keys(self, h):
        key, secret, token = self.new_keys()
        self.answer(h, 200, {"Code": "Success", "AccessKeyId": key, "SecretAccessKey": secret, "Token": token,
                             "Expiration": iso(self.life_s)}, "application/json")

    def container(self, h):
        if self.container_token and h.headers.get("authorization") != self.container_token:
            raise Refused(401, "Unauthorized", "token")
        self.give_keys(h)

    def instance(self, h):
        path = h.path[len("/latest/"):]
        if path == "api/token":
            if h.command != "PUT" or not h.headers.get("x-aws-ec2-metadata-token-ttl-seconds"):
                raise Refused(400, "BadRequest", "ttl")
            self.answer(h, 200, "imds-session", "text/plain")
        elif h.headers.get("x-aws-ec2-metadata-token") != "imds-session":
            raise Refused(401, "Unauthorized", "token")
        elif path == "meta-data/placement/region":
            self.answer(h, 200, "eu-north-1", "text/plain")
        elif path == "meta-data/iam/security-credentials/" and self.role:
            self.answer(h, 200, self.role + "\n", "text/plain")
        elif path == f"meta-data/iam/security-credentials/{self.role}":
            self.give_keys(h)
        else:
            raise Refused(404, "NotFound", path)
