import tomlkit


class Overlay:
    def __init__(self, path):
        self.path = path
        self.doc = tomlkit.parse(path.read_text()) if path.exists() else tomlkit.document()

    def set_model(self, name, values):
        models = self.doc.setdefault("models", tomlkit.table(True))
        table = models.setdefault(name, tomlkit.table())
        for k, v in values.items():
            table[k] = v

    def remove_model(self, name):
        self.doc.get("models", {}).pop(name, None)

    def save(self):
        self.path.write_text(tomlkit.dumps(self.doc))
