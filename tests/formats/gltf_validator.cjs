// Prints the issues that Khronos' glTF validator (npm gltf-validator) finds in a file, as JSON.
const validator = require("gltf-validator");
const bytes = new Uint8Array(require("fs").readFileSync(process.argv[2]));
validator.validateBytes(bytes).then((report) => console.log(JSON.stringify(report.issues)));
