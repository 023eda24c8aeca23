# An MCP server on stdio in a shell: it answers calls with fixed bytes, or, asked for `back`, with those it was sent.
read_id() {
    id=${line#*\"id\":}
    id=${id%%,*}
    id=${id%%\}*}
}

while read -r line; do
    case $line in
    *'"initialize"'*)
        read_id
        result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"exact","version":"1"}}'
        ;;
    *'"tools/list"'*)
        read_id
        schema='{"type":"object","properties":{"n":{"type":"integer","maximum":1e400}},"required":["n"]}'
        result='{"tools":[{"title":"Z","name":"wide","inputSchema":'$schema'},{"name":"back","inputSchema":'$schema'}]}'
        ;;
    *'"back"'*)
        read_id
        sent=${line#*\"arguments\":}
        result='{"structuredContent":'${sent%%\}*}'},"content":[]}'
        ;;
    *'"tools/call"'*)
        read_id
        result='{"structuredContent":{"z":123456789012345678901234567890,"a":[1.50,1E400],"u":"\u00e9"},"content":[]}'
        ;;
    *) continue ;;
    esac
    printf '%s\n' '{"jsonrpc":"2.0","id":'"$id"',"result":'"$result"'}'
done
