// A job asks GitHub for its token, never AWS, so this package is not installed.
declare module "@aws-sdk/client-sts";
