//! The AWS SDK's clients of an endpoint on this machine.

use aws_config::SdkConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Credentials, Region, SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_smithy_runtime_api::client::auth::AuthSchemeId;

use crate::aws::in_process::Direct;

/// The access key of who is no function.
pub(super) const ANYBODY: &str = "local";

/// How the SDK calls requests that are not signed.
const NO_AUTH: AuthSchemeId = AuthSchemeId::new("noAuth");

/// A client of DynamoDB.
pub(super) fn dynamodb(config: &SdkConfig, direct: Option<Direct>) -> aws_sdk_dynamodb::Client {
    let config = directly(config, direct);
    let config = aws_sdk_dynamodb::config::Builder::from(&config).allow_no_auth();
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

/// A client of SQS.
pub(super) fn sqs(config: &SdkConfig, direct: Option<Direct>) -> aws_sdk_sqs::Client {
    let config = directly(config, direct);
    aws_sdk_sqs::Client::from_conf(aws_sdk_sqs::config::Builder::from(&config).allow_no_auth().build())
}

/// Ordinary SDK settings for an endpoint on this machine, which takes any credentials.
pub(crate) async fn sdk_config(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(ANYBODY, "local", None, None, "local"))
        .endpoint_url(endpoint)
        .load()
        .await
}

/// The same settings for somebody of this access key.
pub(super) fn of(config: &SdkConfig, access_key: &str) -> SdkConfig {
    let credentials = Credentials::new(access_key, "local", None, None, "local");
    config.clone().into_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build()
}

/// The same for an endpoint that is embedded here, if it is: nobody would read a signature there, and no stream can stall.
fn directly(config: &SdkConfig, direct: Option<Direct>) -> SdkConfig {
    let config = config.clone();
    let Some(direct) = direct else { return config };
    config
        .into_builder()
        .http_client(direct)
        .auth_scheme_preference([NO_AUTH])
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build()
}
