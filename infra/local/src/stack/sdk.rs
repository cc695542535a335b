//! The AWS SDK's clients of an endpoint on this machine.

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, StalledStreamProtectionConfig};
use aws_smithy_runtime_api::client::auth::AuthSchemeId;

use crate::aws::in_process::Direct;

/// How the SDK calls requests that are not signed.
const NO_AUTH: AuthSchemeId = AuthSchemeId::new("noAuth");

/// A client of DynamoDB.
pub(super) async fn dynamodb(endpoint: &str, direct: Option<Direct>) -> aws_sdk_dynamodb::Client {
    let config = sdk_config_with(endpoint, direct).await;
    let config = aws_sdk_dynamodb::config::Builder::from(&config).allow_no_auth();
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

/// A client of SQS.
pub(super) async fn sqs(endpoint: &str, direct: Option<Direct>) -> aws_sdk_sqs::Client {
    let config = sdk_config_with(endpoint, direct).await;
    aws_sdk_sqs::Client::from_conf(aws_sdk_sqs::config::Builder::from(&config).allow_no_auth().build())
}

/// Ordinary SDK settings for an endpoint on this machine, which takes any credentials.
pub(crate) async fn sdk_config(endpoint: &str) -> aws_config::SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .endpoint_url(endpoint)
        .load()
        .await
}

/// The same for an endpoint that is embedded here, if it is: nobody would read a signature there, and no stream can stall.
async fn sdk_config_with(endpoint: &str, direct: Option<Direct>) -> aws_config::SdkConfig {
    let config = sdk_config(endpoint).await;
    let Some(direct) = direct else { return config };
    config
        .into_builder()
        .http_client(direct)
        .auth_scheme_preference([NO_AUTH])
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build()
}
