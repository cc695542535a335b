"use strict";

const fs = require("node:fs");
const path = require("node:path");

const { Aws, Fn, Lazy, Stack, Token } = require("aws-cdk-lib");
const { PolicyStatement } = require("aws-cdk-lib/aws-iam");
const { Asset } = require("aws-cdk-lib/aws-s3-assets");
const { Construct } = require("constructs");

const { build } = require("./build.js");
const { include } = require("./include.js");
const { ONCEKEY, TASKS, valuesOf } = require("./parameters.js");
const { template } = require("./templates.js");

// A schedule group is named like the stack.
const LONGEST_NAME = 64;
const LONGEST_QUEUE_NAME = 80;

class Oncekey extends Construct {
  #queues = {};
  #tasks = {};

  constructor(scope, id, props = {}) {
    super(scope, id);
    const unknown = Object.keys(props).find((name) => !(name in ONCEKEY) && !["stackName", "functions"].includes(name));
    if (unknown) throw new Error(`${unknown}: there is no such property`);
    const parent = Stack.of(scope);
    this.stackName = props.stackName ?? `${parent.stackName}-${id}`;
    if (Token.isUnresolved(this.stackName) || !/^[A-Za-z][A-Za-z0-9-]*$/.test(this.stackName) || `${this.stackName}-completions-dead`.length > LONGEST_QUEUE_NAME || this.stackName.length > LONGEST_NAME) {
      throw new Error(`stackName: ${this.stackName} is not a name of up to 63 letters, digits and hyphens`);
    }
    this.stack = new Stack(this, "Stack", { stackName: this.stackName, env: { account: parent.account, region: parent.region } });
    this.architecture = props.architecture ?? "x86_64";
    this.endpointUrl = props.endpointUrl;
    this.#queues = { ...props.moreRunQueues };
    this.#tasks = { ...props.taskQueues };
    // Tasks are added when this is made already.
    const json = (produce) => Lazy.string({ produce: () => this.stack.toJsonString(produce()) });
    const oncekey = template("oncekey");
    const values = valuesOf(oncekey, ONCEKEY, {
      ...props,
      workerTimeout: props.workerTimeout && String(props.workerTimeout.toSeconds()),
      allowedOrigins: props.allowedOrigins?.join(","),
      moreRunQueues: json(() => this.#queues),
      taskQueues: json(() => this.#tasks),
    });
    const built = path.resolve(props.functions ?? ".aws-sam/build");
    include(this.stack, oncekey, { values, codeOf: (name) => codeUri(this.stack, name, path.join(built, name), "sam build makes it") });
    this.apiUrl = this.exported("ApiUrl");
    this.environmentsTable = this.exported("EnvironmentsTable");
    this.triggersQueueUrl = this.exported("TriggersQueueUrl");
  }

  exported(name) {
    return Fn.importValue(`${this.stackName}-${name}`);
  }

  addTasks(folder, props = {}) {
    return new Tasks(this, props.queue ?? "tasks", { ...props, folder }, (queue, url, tasks) => {
      if (queue === "default" || queue in this.#queues) throw new Error(`queue: there is one named ${queue} already`);
      const taken = tasks.find((task) => task in this.#tasks);
      if (taken) throw new Error(`the task ${taken} is on the queue ${this.#tasks[taken]} already`);
      this.#queues[queue] = url;
      for (const task of tasks) this.#tasks[task] = queue;
    });
  }

  grantTrigger(caller, apiKey) {
    apiKey.grantRead(caller);
    caller.addEnvironment("TRIGGER_API_URL", this.apiUrl);
    caller.addEnvironment("ONCEKEY_API_KEY_SECRET", apiKey.secretArn);
    Stack.of(caller).addStackDependency(this.stack);
  }

  grantTriggerByMessage(caller) {
    const queue = `arn:${Aws.PARTITION}:sqs:${Aws.REGION}:${Aws.ACCOUNT_ID}:${this.stackName}-triggers`;
    caller.addToRolePolicy(new PolicyStatement({ actions: ["sqs:SendMessage"], resources: [queue] }));
    caller.addEnvironment("ONCEKEY_TRIGGERS_QUEUE", this.triggersQueueUrl);
    Stack.of(caller).addStackDependency(this.stack);
  }
}

class Tasks extends Construct {
  constructor(oncekey, queue, { folder, environments = [], host }, register) {
    super(oncekey, queue);
    const name = `${oncekey.stackName}-runs-${queue}`;
    if (name.length > LONGEST_QUEUE_NAME) throw new Error(`queue: ${name} is longer than the ${LONGEST_QUEUE_NAME} characters of a queue's name`);
    const tasks = template("tasks");
    const values = valuesOf(tasks, TASKS, {
      oncekey: oncekey.stackName, queue, environments: environments.join(","), architecture: oncekey.architecture, endpointUrl: oncekey.endpointUrl,
    });
    const built = build(path.resolve(folder), { host, architecture: oncekey.architecture });
    this.tasks = built.tasks;
    this.queueName = name;
    // Written out and not imported: Oncekey's stack is there before this one, and knows its queue.
    this.queueUrl = `https://sqs.${Aws.REGION}.${Aws.URL_SUFFIX}/${Aws.ACCOUNT_ID}/${name}`;
    register(queue, this.queueUrl, this.tasks);
    const { account, region } = oncekey.stack;
    this.stack = new Stack(this, "Stack", { stackName: `${oncekey.stackName}-${queue}`.replaceAll("_", "-"), env: { account, region } });
    include(this.stack, tasks, { values, codeOf: (id) => codeUri(this.stack, id, built.folder, "oncekey build makes it") });
    this.stack.addStackDependency(oncekey.stack);
  }
}

function codeUri(stack, name, folder, hint) {
  if (!fs.existsSync(path.join(folder, "bootstrap"))) throw new Error(`${path.join(folder, "bootstrap")} is not there: ${hint}`);
  const asset = new Asset(stack, `${name}Code`, { path: folder });
  return { Bucket: asset.s3BucketName, Key: asset.s3ObjectKey };
}

exports.Oncekey = Oncekey;
exports.Tasks = Tasks;
