// Before the package is published: the templates as JSON, since it has neither the repository's files nor a parser of YAML.

"use strict";

const fs = require("node:fs");
const path = require("node:path");

const { SOURCES, template } = require("./templates.js");

const dist = path.join(__dirname, "../dist");
fs.mkdirSync(dist, { recursive: true });
for (const name of Object.keys(SOURCES)) fs.writeFileSync(path.join(dist, `${name}.json`), JSON.stringify(template(name)));
