// The constructs against the templates: the same resources, with the same properties.

"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { after, test } = require("node:test");

const { App, Duration, Stack } = require("aws-cdk-lib");
const { Template } = require("aws-cdk-lib/assertions");
const { Code, Function: Lambda, Runtime } = require("aws-cdk-lib/aws-lambda");
const { Secret } = require("aws-cdk-lib/aws-secretsmanager");

const { Oncekey } = require("../src/index.js");
const { ONCEKEY, TASKS } = require("../src/parameters.js");
const { template } = require("../src/templates.js");

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "oncekey-cdk-"));
after(() => fs.rmSync(scratch, { recursive: true }));

const folder = (name, files) => {
  fs.mkdirSync(path.join(scratch, name), { recursive: true });
  for (const [file, text] of Object.entries(files)) fs.writeFileSync(path.join(scratch, name, file), text);
  return path.join(scratch, name);
};
const plain = template("oncekey");
const functionsOf = ({ Resources }) => Object.keys(Resources).filter((id) => Resources[id].Type === "AWS::Serverless::Function");
for (const name of functionsOf(plain)) folder(`functions/${name}`, { bootstrap: name });
const functions = path.join(scratch, "functions");
const built = (name, ...tasks) => folder(name, { bootstrap: "", "manifest.json": JSON.stringify({ tasks: tasks.map((id) => ({ id })) }) });

const shop = () => new Stack(new App(), "Shop");
const jobs = (props) => new Oncekey(shop(), "Jobs", { stackName: "oncekey", functions, ...props });
const synthesised = (stack) => Template.fromStack(stack).toJSON();

/** What the template has, with its parameters filled in, by hand: each `Ref` and each `${…}`. */
function filled(node, values) {
  const text = JSON.stringify(node, (_, value) => (value && typeof value === "object" && value.Ref in values ? values[value.Ref] : value));
  return JSON.parse(text.replace(/\$\{(\w+)\}/g, (whole, name) => values[name] ?? whole));
}
const defaults = ({ Parameters }) => Object.fromEntries(Object.entries(Parameters).map(([name, { Default }]) => [name, Default]));

function isTheSame(made, expected) {
  assert.deepEqual(Object.keys(made.Resources).sort(), Object.keys(expected.Resources).sort());
  for (const [id, { Metadata, ...resource }] of Object.entries(expected.Resources)) {
    const actual = made.Resources[id];
    if (resource.Type !== "AWS::Serverless::Function") {
      assert.deepEqual(actual, { ...resource, ...(Metadata && { Metadata }) }, id);
      continue;
    }
    const globals = expected.Globals?.Function ?? {};
    const { CodeUri, ...own } = resource.Properties;
    const variables = { ...globals.Environment?.Variables, ...own.Environment?.Variables };
    const { CodeUri: asset, ...properties } = actual.Properties;
    assert.deepEqual(properties, { ...globals, ...own, Environment: { Variables: variables } }, id);
    assert.ok(CodeUri && asset.Bucket && /^[0-9a-f]{64}\.zip$/.test(asset.Key), id);
  }
  for (const section of ["Mappings", "Conditions", "Outputs"]) assert.deepEqual(made[section], expected[section], section);
  assert.equal(made.Transform, expected.Transform);
}

test("what the construct makes is the template", () => {
  isTheSame(synthesised(jobs().stack), filled(plain, defaults(plain)));
});

test("what addTasks makes is the worker's template, and Oncekey knows its queue and its tasks", () => {
  const oncekey = jobs({ moreRunQueues: { rust: "https://sqs/rust" }, taskQueues: { resize: "rust" } });
  const tasks = oncekey.addTasks(built("mail", "invite", "digest"), { queue: "mail", environments: ["acme/prod", "acme/dev"] });
  const worker = template("tasks");
  isTheSame(
    synthesised(tasks.stack),
    filled(worker, { ...defaults(worker), Oncekey: "oncekey", Queue: "mail", Environments: "acme/prod,acme/dev" }),
  );
  assert.deepEqual(tasks.stack.dependencies, [oncekey.stack]);
  const variables = synthesised(oncekey.stack).Resources.TriggerFunction.Properties.Environment.Variables;
  assert.deepEqual(JSON.parse(variables.ONCEKEY_TASK_QUEUES), { resize: "rust", invite: "mail", digest: "mail" });
  const [, parts] = variables.ONCEKEY_MORE_RUNS_QUEUES["Fn::Join"];
  const text = parts.map((part) => (typeof part === "string" ? part : part.Ref)).join("");
  assert.deepEqual(JSON.parse(text), {
    rust: "https://sqs/rust", mail: "https://sqs.AWS::Region.AWS::URLSuffix/AWS::AccountId/oncekey-runs-mail",
  });
});

test("each parameter of the templates is a property, and documented", () => {
  const types = fs.readFileSync(path.join(__dirname, "../src/index.d.ts"), "utf8");
  assert.deepEqual(Object.values(ONCEKEY).sort(), Object.keys(plain.Parameters).sort());
  for (const name of Object.keys(ONCEKEY)) assert.match(types, new RegExp(`\\*/\\n  readonly ${name}\\?:`));
  assert.deepEqual(Object.values(TASKS).sort(), Object.keys(template("tasks").Parameters).sort());
});

test("properties are passed through", () => {
  const props = {
    stage: "prod", architecture: "arm64", workerTimeout: Duration.minutes(15), workerMemory: 1024, workerConcurrency: 7, requestsPerSecond: 8,
    requestsBurst: 9, logRetentionDays: 30, alarmTopicArn: "arn:topic", allowedOrigins: ["https://a.example", "https://b.example"],
    moreRunQueues: { a: "b" }, taskQueues: { c: "a" }, endpointUrl: "http://emulator",
  };
  assert.deepEqual(Object.keys(props).sort(), Object.keys(ONCEKEY).sort());
  const values = {
    Stage: "prod", Architecture: "arm64", WorkerTimeout: "900", WorkerMemory: 1024, WorkerConcurrency: 7, RequestsPerSecond: 8, RequestsBurst: 9,
    LogRetentionDays: 30, AlarmTopicArn: "arn:topic", AllowedOrigins: "https://a.example,https://b.example", MoreRunQueues: '{"a":"b"}',
    TaskQueues: '{"c":"a"}', EndpointUrl: "http://emulator",
  };
  isTheSame(synthesised(jobs(props).stack), filled(plain, values));
});

test("what the template does not allow is refused at once", () => {
  for (const [props, words] of [
    [{ stage: "test" }, 'stage: "test" is none of dev, prod'],
    [{ workerMemory: 127 }, "workerMemory: 127 is less than 128"],
    [{ workerConcurrency: 1001 }, "workerConcurrency: 1001 is more than 1000"],
    [{ requestsBurst: 1.5 }, "requestsBurst: 1.5 is not a whole number"],
    [{ workerTimeout: Duration.seconds(31) }, 'workerTimeout: "31" is none of 30, 60, 300, 900'],
    [{ allowedOrigins: ["app.example"] }, 'allowedOrigins: "app.example" does not match'],
    [{ memory: 1 }, "memory: there is no such property"],
    [{ stackName: "x".repeat(64) }, "is not a name of up to 63"],
    [{ functions: path.join(scratch, "nowhere") }, "is not there: sam build makes it"],
  ]) assert.throws(() => jobs(props), ({ message }) => message.includes(words), words);
  const oncekey = jobs();
  oncekey.addTasks(built("one", "invite"), { queue: "one" });
  assert.throws(() => oncekey.addTasks(built("two", "invite"), { queue: "two" }), /the task invite is on the queue one already/);
  assert.throws(() => oncekey.addTasks(built("three"), { queue: "default" }), /there is one named default already/);
  assert.throws(() => oncekey.addTasks(built("four"), { queue: "a.b" }), /queue: "a.b" does not match/);
  assert.throws(() => oncekey.addTasks(built("five"), { queue: "f", environments: ["prod"] }), /environments: "prod" does not match/);
  assert.throws(() => oncekey.addTasks(path.join(scratch, "none"), { queue: "g" }), /none is not there/);
});

test("grants let a function trigger, and no more", () => {
  const stack = shop();
  const oncekey = new Oncekey(stack, "Jobs", { functions });
  const caller = (id) => new Lambda(stack, id, { runtime: Runtime.NODEJS_22_X, handler: "a.b", code: Code.fromInline("1") });
  const [http, message] = [caller("Http"), caller("Message")];
  oncekey.grantTrigger(http, Secret.fromSecretCompleteArn(stack, "Key", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:key-abcdef"));
  oncekey.grantTriggerByMessage(message);
  assert.equal(oncekey.stackName, "Shop-Jobs");
  assert.deepEqual(stack.dependencies, [oncekey.stack]);
  const { Resources } = synthesised(stack);
  const of = (type) => Object.values(Resources).filter(({ Type }) => Type === type).map(({ Properties }) => Properties);
  const actions = of("AWS::IAM::Policy").map(({ PolicyDocument }) => PolicyDocument.Statement.map(({ Action }) => Action));
  assert.deepEqual(actions, [[["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]], ["sqs:SendMessage"]]);
  assert.deepEqual(of("AWS::Lambda::Function").map(({ Environment }) => Environment.Variables), [
    {
      TRIGGER_API_URL: { "Fn::ImportValue": "Shop-Jobs-ApiUrl" },
      ONCEKEY_API_KEY_SECRET: "arn:aws:secretsmanager:eu-west-1:111122223333:secret:key-abcdef",
    },
    { ONCEKEY_TRIGGERS_QUEUE: { "Fn::ImportValue": "Shop-Jobs-TriggersQueueUrl" } },
  ]);
});
