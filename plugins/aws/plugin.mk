LIBS_aws := -lcrypto
