"""aws.py: the client of AWS: credentials from every source, and events that reach a bus which misbehaves."""
import json
import os
import sys

from harness import Case, environment, main, wait_for, weir

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "aws"))
from fake import Fake  # noqa: E402

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
QUICK = "retry: { backoff: 5ms, backoff_max: 30ms }"


class Aws(Case):
    def setUp(self):
        super().setUp()
        self.fake = Fake()
        self.addCleanup(self.fake.close)

    def env(self, keys=True, **more):
        """Nothing of the caller's AWS; no file, no metadata but what a test names."""
        env = environment(WEIR_DATA_DIR=self.path("data"), HOME=self.folder, AWS_EC2_METADATA_DISABLED="true",
                          AWS_REGION="eu-central-1", AWS_ENDPOINT_URL=self.fake.url)
        env = {k: v for k, v in env.items() if not k.startswith("AWS_") or k in
               ("AWS_EC2_METADATA_DISABLED", "AWS_REGION", "AWS_ENDPOINT_URL")}
        if keys:
            env.update(AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET)
        env.update(more)
        return {k: v for k, v in env.items() if v is not None}

    # ---- who am I ----

    def whoami(self, *args, code=0, **env):
        done = weir("aws", "whoami", "--json", *args, env=self.env(**env), cwd=self.folder)
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        for secret in (SECRET, "secret1", "token1", "web.identity.token"):
            self.assertNotIn(secret, done.stdout + done.stderr)
        return json.loads(done.stdout) if code == 0 else done.stderr

    def files(self, config="", credentials=""):
        os.makedirs(self.path(".aws"), exist_ok=True)
        self.write(".aws/config", config)
        self.write(".aws/credentials", credentials)

    def test_environment(self):
        who = self.whoami("--check")
        self.assertEqual((who["access_key"], who["credentials_from"], who["region"], who["region_from"], who["account"]),
                         ("AKIA****MPLE", "environment", "eu-central-1", "AWS_REGION", "123456789012"))
        self.assertIn("AWS_SECRET_ACCESS_KEY is not", self.whoami(AWS_SECRET_ACCESS_KEY=None, code=78))
        self.assertIn("UnrecognizedClientException",
                      self.whoami("--check", AWS_ACCESS_KEY_ID="AKIAUNKNOWNUNKNOWN00", code=78))
        self.assertIn("no AWS credentials", self.whoami(keys=False, code=78))
        self.assertIn("no AWS region", self.whoami(AWS_REGION=None, code=78))

    def test_wrong_clock(self):
        self.fake.clock_s = -4000
        self.assertEqual(self.whoami("--check")["account"], "123456789012")

    def test_out_of_reach(self):
        self.assertIn("GetCallerIdentity", self.whoami("--check", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1",
                                                       code=69))

    def test_web_identity(self):
        role = {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/web", "AWS_WEB_IDENTITY_TOKEN_FILE": self.path("token")}
        self.assertIn("cannot be read", self.whoami(keys=False, code=78, **role))
        self.write("token", "web.identity.token\n")
        who = self.whoami("--check", keys=False, **role)
        self.assertEqual(who["credentials_from"], "AssumeRoleWithWebIdentity arn:aws:iam::123456789012:role/web")
        self.assertEqual(self.whoami(**role)["credentials_from"], "environment")
        self.write("token", "stolen")  # it is there and fails: nothing else is tried
        self.files(credentials=f"[default]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n")
        self.assertIn("InvalidIdentityToken", self.whoami(keys=False, code=78, **role))

    def test_profiles(self):
        program = self.path("program")
        self.write("program", "#!/bin/sh\nprintf '{\"Version\":1,\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"%s\"}' "
                              f"{KEY} '{SECRET}'\n[ \"$1\" = 'a b' ]\n")
        os.chmod(program, 0o700)
        self.files(f"""[profile shop]
region = ap-south-1
role_arn = arn:aws:iam::123456789012:role/shop
source_profile = base
external_id = x1
role_session_name = weir-test
duration_seconds = 900
[profile forbidden]
role_arn = arn:aws:iam::123456789012:role/forbidden
source_profile = base
[profile ring]
role_arn = r
source_profile = ring2
[profile ring2]
role_arn = r
source_profile = ring
[profile program]
credential_process = {program} "a b"
[profile badprogram]
credential_process = {program} other
[profile sso]
sso_session = x
[profile url]
services = mine
[services mine]
sts =
  endpoint_url = {self.fake.url}/below
""", f"[base]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n[url]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n")
        who = self.whoami("--check", keys=False, AWS_PROFILE="shop", AWS_REGION=None)
        self.assertEqual((who["credentials_from"], who["region"], who["region_from"]),
                         ("AssumeRole arn:aws:iam::123456789012:role/shop", "ap-south-1", "profile"))
        self.assertTrue(any("ExternalId=x1" in c[2] and "DurationSeconds=900" in c[2] for c in self.fake.calls))
        self.assertEqual(self.whoami("--check", keys=False, AWS_PROFILE="program")["access_key"], "AKIA****MPLE")
        self.assertEqual(self.whoami("--check", keys=False, AWS_PROFILE="url", AWS_ENDPOINT_URL=None)["sts"],
                         self.fake.url + "/below")
        for profile, text, code in (("forbidden", "AccessDenied", 78), ("ring", "lead back", 78), ("sso", "sso", 78),
                                    ("nobody", "no profile nobody", 78), ("badprogram", "exit code 1", 69)):
            with self.subTest(profile):
                self.assertIn(text, self.whoami(keys=False, AWS_PROFILE=profile, code=code))

    def test_container(self):
        url = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": self.fake.url + "/container"}
        self.assertEqual(self.whoami("--check", keys=False, **url)["credentials_from"], "container endpoint")
        self.fake.container_token = "eks-token"
        self.assertIn("answered 401", self.whoami(keys=False, code=78, **url))
        self.write("eks", "eks-token\n")
        self.whoami(keys=False, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=self.path("eks"), **url)
        self.assertIn("neither this machine", self.whoami(
            keys=False, AWS_CONTAINER_CREDENTIALS_FULL_URI="http://127.0.0.1.example.com/x", code=78))

    def test_instance(self):
        place = {"AWS_EC2_METADATA_DISABLED": None, "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.fake.url, "keys": False}
        who = self.whoami("--check", AWS_REGION=None, **place)
        self.assertEqual((who["credentials_from"], who["region"]), ("instance metadata (IMDSv2), role weir-role", "eu-north-1"))
        self.fake.role = None
        self.assertIn("no AWS credentials", self.whoami(code=78, **place))

    def test_endpoints(self):
        for env, url in (({}, "https://sts.eu-central-1.amazonaws.com"),
                         ({"AWS_USE_FIPS_ENDPOINT": "true"}, "https://sts-fips.eu-central-1.amazonaws.com"),
                         ({"AWS_REGION": "cn-north-1"}, "https://sts.cn-north-1.amazonaws.com.cn"),
                         ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "https://sts.eu-central-1.api.aws"),
                         ({"AWS_ENDPOINT_URL": "https://a.example", "AWS_ENDPOINT_URL_STS": "https://b.example"}, "https://b.example"),
                         ({"AWS_ENDPOINT_URL": "https://a.example", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
                          "https://sts.eu-central-1.amazonaws.com")):
            with self.subTest(url):
                self.assertEqual(self.whoami(**{"AWS_ENDPOINT_URL": None, **env})["sts"], url)
        self.assertIn("plain http to another machine", self.whoami(AWS_ENDPOINT_URL="http://10.1.2.3:80", code=78))

    # ---- the sink ----

    PIPELINE = """admin: { listen: 127.0.0.1:0 }
aws: { endpoint: aws }
sources:
  api: { plugin: http, listen: 127.0.0.1:0, routes: { "POST /e": { type: Happened, source: shop } } }
sinks:
  bus: { plugin: eventbridge, inputs: [api], bus: orders, MORE }
"""

    def bus(self, more=QUICK, **env):
        return self.start(self.PIPELINE.replace("MORE", more), env=self.env(**env))

    def put(self, r, count, first=0, **more):
        for n in range(first, first + count):
            self.assertEqual(r.post("api", "/e", {"n": n, **more}).status, 200)

    def arrived(self, count, r=None):
        wait_for(lambda: len(self.fake.events) >= count, lambda: f"{count} events, {self.fake.events}\n{r and r.log}")
        return sorted(e["Detail"]["n"] for e in self.fake.events)

    def test_sink(self):
        r = self.bus(QUICK + ', detail_type: "{@type}.{kind}", resources: ["arn:a"]')
        self.put(r, 1, kind="new")
        self.arrived(1, r)
        r.wait_settled(delivered=1)
        e = self.fake.events[0]
        self.assertEqual((e["Source"], e["DetailType"], e["EventBusName"], e["Resources"], e["region"]),
                         ("shop", "Happened.new", "orders", ["arn:a"], "eu-central-1"))
        self.assertRegex(str(e["Time"]), r"^\d{10}\.\d+$")
        self.assertNotIn(SECRET, r.stop())

    def test_sink_trace(self):
        r = self.bus()
        r.post("api", "/e", {"n": 1}, {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
        self.arrived(1, r)
        self.assertRegex(self.fake.events[0]["TraceHeader"], r"^Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=[0-9a-f]{16};Sampled=1$")
        r.stop()

    def test_sink_survives_everything(self):
        self.fake.script = ["throttle", "fault", "close", "partial", "slow", "expired", "partial", "skew", "partial", "throttle"]
        r = self.bus()
        self.put(r, 40)
        self.assertEqual(self.arrived(40, r), list(range(40)))
        r.wait_settled(delivered=40, dead_lettered=0)
        r.stop()
        self.assertFalse(self.fake.script)
        self.assertEqual(len(self.fake.events), 40)  # none came twice

    def test_sink_in_adaptive_mode(self):
        self.fake.script = ["throttle", "throttle", "ok", "throttle"]
        r = self.bus(AWS_RETRY_MODE="adaptive")
        self.put(r, 12)
        self.assertEqual(self.arrived(12, r), list(range(12)))
        r.wait_settled(delivered=12, dead_lettered=0)
        r.stop()
        self.assertFalse(self.fake.script)

    def test_sink_answers_without_sense(self):
        self.fake.script = ["garbage", "short"]
        r = self.bus()
        self.put(r, 1)
        wait_for(lambda: r.ledger()["delivered"] == 1, "the event")
        r.wait_settled(delivered=1, dead_lettered=0)
        r.stop()

    def test_sink_rejects_one(self):
        r = self.bus()
        self.put(r, 1, bad=True)
        self.put(r, 1, first=1)
        letters = wait_for(r.dead_letters, "the dead letter")
        self.assertIn("NotAuthorizedForSourceException: Not authorized for the source.", json.dumps(letters))
        self.assertEqual(self.arrived(1, r), [1])
        r.wait_settled(delivered=1, dead_lettered=1)
        r.stop()

    def test_sink_not_allowed(self):
        self.fake.script = ["denied"]
        r = self.bus()
        self.put(r, 1)
        r.wait_log("AccessDeniedException")
        self.arrived(1, r)
        r.stop()

    def test_sink_refreshes(self):
        self.fake.life_s = 4  # fresh ones are due after two
        url = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": self.fake.url + "/container"}
        r = self.bus(keys=False, **url)
        self.put(r, 1)
        self.arrived(1, r)
        r.wait_log("credentials are fresh: container endpoint")
        self.put(r, 1, first=1)
        self.assertEqual(self.arrived(2, r), [0, 1])
        r.stop()

    def test_reload_brings_the_client(self):
        """The first stage that needs the client comes by a reload; the next reload keeps it."""
        text = "data_dir: ${WEIR_DATA_DIR}\n" + self.PIPELINE.replace("MORE", QUICK)
        none = text[:text.index("sinks:")] + "sinks:\n  out: { plugin: 'null', inputs: [api] }\n"
        path = self.write("pipeline.yaml", none)
        r = self.start(path, env=self.env())
        self.put(r, 1)
        for n, file in enumerate((text, text.replace("bus: orders", "bus: other")), 1):
            self.write("pipeline.yaml", file)
            done = r.weir("reload")
            self.assertEqual(done.returncode, 0, done.stderr + r.log)
            self.put(r, 1, first=n)
            self.arrived(n, r)
        self.assertEqual([e["EventBusName"] for e in self.fake.events], ["orders", "other"])
        r.wait_settled(delivered=3)
        r.stop()

    def test_sink_config(self):
        def refused(text, *words, **env):
            path = self.write("bad.yaml", "data_dir: data\n" + text)
            done = weir("validate", path, env=self.env(**env), cwd=self.folder)
            self.assertEqual(done.returncode, 78, done.stderr)
            for word in words:
                self.assertIn(word, done.stderr)
        text = self.PIPELINE.replace("MORE", QUICK)
        refused(text.replace("endpoint: aws", "endpoint: embedded"), "transform eventbridge")
        refused(text.replace("bus: orders", "source: 'a {b'"), "in braces")
        refused(text + "  q: { plugin: sqs, inputs: [api], queue: q }\n", "endpoint")
        done = weir("run", self.write("p.yaml", "data_dir: data\n" + text), env=self.env(keys=False), cwd=self.folder)
        self.assertEqual(done.returncode, 78, done.stderr)
        self.assertIn("no AWS credentials", done.stderr)
        done = weir("run", self.write("p.yaml", "data_dir: data\n" + text), env=self.env(AWS_RETRY_MODE="often"), cwd=self.folder)
        self.assertEqual(done.returncode, 78, done.stderr)
        self.assertIn('standard, adaptive or legacy, not "often"', done.stderr)


if __name__ == "__main__":
    main()
