import { App, Stack } from "aws-cdk-lib";
import { Code, Function as Lambda, Runtime } from "aws-cdk-lib/aws-lambda";
import { Secret } from "aws-cdk-lib/aws-secretsmanager";
import { Oncekey } from "oncekey-cdk";

const app = new App();
const shop = new Stack(app, "Shop");

const jobs = new Oncekey(shop, "Jobs", { stackName: "oncekey", stage: "prod", alarmTopicArn: "arn:aws:sns:eu-west-1:111122223333:alarms" });
jobs.addTasks("./src/trigger", { queue: "mail", environments: ["acme/prod"] });

const checkout = new Lambda(shop, "Checkout", {
  runtime: Runtime.NODEJS_22_X, handler: "index.handler", code: Code.fromInline("exports.handler = async () => {};"),
});
jobs.grantTrigger(checkout, Secret.fromSecretNameV2(shop, "ApiKey", "oncekey/acme/prod"));
