"""Puts a user's e-mail address in order and says what kind of customer it belongs to."""


class InvalidUser(Exception):
    """No retry will mend it: the stage names it in `reject`."""


def tier_of(email):
    if email.endswith("@enterprise.com"):
        return "enterprise"
    return "education" if email.endswith((".edu", ".ac.uk")) else "standard"


def handler(event, context):
    user = event["detail"]
    email = user.get("email", "").replace(" ", "").lower()
    if "@" not in email:
        raise InvalidUser(f"no e-mail address: {email}")
    if email.endswith("@example.invalid"):
        return None  # ends the event on purpose
    tier = tier_of(email)
    print(f"{email} is {tier}")
    return {"id": user["id"], "name": user["name"], "email": email, "tier": tier,
            **{key: user[key] for key in user if key not in ("id", "name", "email")}}
