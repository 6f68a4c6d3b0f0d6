"""make.py: writes hosts.txt: the host of each service in a region of each partition, as botocore finds it.

Columns: service, region, f for FIPS or -, d for dual stack or -, host.

usage: python3 tests/aws/hosts/make.py > tests/aws/hosts/hosts.txt  (of botocore 1.43; older ones know fewer partitions)
"""
from botocore.endpoint_provider import EndpointProvider
from botocore.loaders import create_loader

SERVICES = {"events": "events", "sts": "sts", "sqs": "sqs", "lambda": "lambda", "logs": "logs", "cloudwatch": "monitoring"}
REGIONS = """us-east-1 us-east-2 us-west-1 us-west-2 eu-central-1 eu-west-1 ap-southeast-2 ca-central-1 sa-east-1 af-south-1
    il-central-1 mx-central-1 cn-north-1 cn-northwest-1 us-gov-west-1 us-gov-east-1 us-iso-east-1 us-isob-east-1
    eu-isoe-west-1 us-isof-south-1 eusc-de-east-1""".split()


def main():
    loader = create_loader()
    for service, name in SERVICES.items():
        rules = EndpointProvider(loader.load_service_model(service, "endpoint-rule-set-1"), loader.load_data("partitions"))
        for region in REGIONS:
            for fips in "-f":
                for dual in "-d":
                    found = rules.resolve_endpoint(Region=region, UseFIPS=fips == "f", UseDualStack=dual == "d",
                                                   **({"UseGlobalEndpoint": False} if service == "sts" else {}))
                    print(name, region, fips, dual, found.url.removeprefix("https://"))


main()
