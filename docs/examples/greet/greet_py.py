def handler(event, context):
    name = event["detail"].get("name")
    if not name:
        raise ValueError("detail.name is missing")
    return {"language": "Python", "greeting": name}
